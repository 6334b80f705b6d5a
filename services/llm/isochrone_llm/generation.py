"""One prompt on its way to a finished text: its tokens, what was said of them, and why it ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from isochrone.deadline import Deadline
from isochrone.errors import IsochroneError
from isochrone_llm.detokeniser import Detokeniser
from isochrone_llm.engine import Delta, Finish, SamplingParams
from isochrone_llm.stops import StopStrings


class Generation:
    """Belongs to the step loop, but for `cancel`, which may come from any thread."""

    def __init__(
        self,
        request_id: str,
        prompt: Sequence[int],
        params: SamplingParams,
        deadline: Deadline,
        *,
        decode: Callable[[Sequence[int]], str],
    ) -> None:
        self.request_id = request_id
        self.prompt = tuple(prompt)
        self.params = params
        self.deadline = deadline
        self.finish: Finish | None = None
        self.cancelled = False
        self.seen = 0
        """Tokens that its slot holds."""
        self.last: int | None = None
        """The token that came last; None while the prompt is still to be read."""
        self.speaks_at_s = 0.0
        """Before that, what there is to say waits for more of it."""
        self._made = 0
        self._unsaid: list[int] = []
        """Tokens that no delta named yet."""
        self._waiting = ""
        """Text that no delta has."""
        self._text = Detokeniser(decode)
        self._stops = StopStrings(params.stop)
        self._random = random.Random(params.seed)

    def __repr__(self) -> str:
        state = self.finish.value if self.finish else "cancelled" if self.cancelled else "going on"
        return (
            f"<Generation {self.request_id}, {len(self.prompt)} tokens and {self._made} of "
            f"{self.params.max_tokens}, {state}>"
        )

    @property
    def prompt_tokens(self) -> int:
        return len(self.prompt)

    @property
    def completion_tokens(self) -> int:
        """Made so far."""
        return self._made

    @property
    def reserved_tokens(self) -> int:
        """The most it may come to, prompt and completion."""
        return len(self.prompt) + self.params.max_tokens

    def cancel(self) -> None:
        """Ends it at the next step."""
        self.cancelled = True

    def chance(self) -> float:
        """What the next token is drawn by, in [0, 1). Its own, so that a seed gives the same text in any batch."""
        return self._random.random() if self.params.temperature > 0 else 0.0

    def take(self, token: int, *, ends: bool, now_s: float = 0.0) -> Delta | None:
        """The next token; `ends` where it says that the text is over. What there is to say now, if anything."""
        if ends:
            return self.end(Finish.STOP)
        self.last = token
        self._made += 1
        self._unsaid.append(token)
        text = self._stops.push(self._text.push(token))
        if self._stops.found:
            return self._over(text, Finish.STOP)
        if self._made == self.params.max_tokens:
            return self.end(Finish.LENGTH, said=text)
        self._waiting += text
        return self._delta("") if self._waiting and now_s >= self.speaks_at_s else None

    def end(self, finish: Finish, *, said: str = "", error: IsochroneError | None = None) -> Delta:
        """The last delta, with `said` and whatever text was held back. A stop string in that still counts."""
        text = said + self._stops.push(self._text.flush())
        if self._stops.found and finish is Finish.LENGTH:
            finish = Finish.STOP
        return self._over(text + self._stops.flush(), finish, error=error)

    def _over(self, text: str, finish: Finish, *, error: IsochroneError | None = None) -> Delta:
        self.finish = finish
        return self._delta(text)._replace(finish=finish, error=error)

    def _delta(self, text: str) -> Delta:
        tokens, self._unsaid = tuple(self._unsaid), []
        text, self._waiting = self._waiting + text, ""
        return Delta(text=text, token_ids=tokens, completion_tokens=self._made)
