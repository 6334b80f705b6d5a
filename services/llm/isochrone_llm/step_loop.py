"""The loop that makes text: who may, joins; everyone running gets a token; who is through, leaves."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch

from isochrone.deadline import Clock
from isochrone.errors import IsochroneError
from isochrone.incidents import incident
from isochrone_llm.engine import Delta, Finish, Limits
from isochrone_llm.generation import Generation
from isochrone_llm.runner import Runner
from isochrone_llm.sampler import sample
from isochrone_llm.scheduler import Room, admit

log = logging.getLogger(__name__)

FORGET = 0.8
"""How fast the longest step is forgotten, per step."""


class Said(NamedTuple):
    """What a step has to say to whoever listens to a generation."""

    generation: Generation
    delta: Delta


class StepLoop:
    """Generations that wait and generations that run. Used by one thread."""

    def __init__(
        self,
        runner: Runner,
        *,
        limits: Limits,
        prefill_tokens: int,
        end_tokens: Collection[int],
        clock: Clock,
        say_every_s: float = 0.0,
    ) -> None:
        """Of each text, what comes within `say_every_s` is said together; the first token at once."""
        self.limits = limits
        self._runner = runner
        self._prefill_tokens = prefill_tokens
        self._end_tokens = frozenset(end_tokens)
        self._clock = clock
        self._say_every_s = say_every_s
        self._waiting: list[Generation] = []
        self._running: list[Generation] = []
        """By slot, without gaps."""
        self._said: list[Said] = []
        self._longest_s = 0.0
        """That a step has lately taken."""

    def __repr__(self) -> str:
        return f"<StepLoop of {len(self._running)} running, {len(self._waiting)} waiting>"

    @property
    def idle(self) -> bool:
        return not self._running and not self._waiting

    @property
    def active(self) -> int:
        return len(self._running)

    @property
    def kv_used(self) -> int:
        """Tokens that those who run hold or may come to."""
        return sum(generation.reserved_tokens for generation in self._running)

    def add(self, generation: Generation) -> None:
        """One that fits the limits. It joins at a later step."""
        self._waiting.append(generation)

    def step(self) -> list[Said]:
        """One turn; what there is to say after it."""
        began_s = self._clock()
        self._admit(began_s)
        self._settle(self._forward())
        self._longest_s = max(self._clock() - began_s, self._longest_s * FORGET)
        said, self._said = self._said, []
        return said

    def end_all(self, finish: Finish, *, error: IsochroneError | None = None) -> list[Said]:
        """Everyone leaves, whatever state they are in."""
        for generation in (*self._waiting, *self._running):
            if generation.finish is None:
                self._end(generation, finish, error=error)
        for slot in range(len(self._running)):
            self._runner.cache.clear(slot)
        self._waiting, self._running = [], []
        said, self._said = self._said, []
        return said

    def _admit(self, now_s: float) -> None:
        """Lets go of whom nobody waits for any more, and gives slots to those who fit.

        A text ends before a step that may take it past its deadline: what comes after that is of no use to anyone.
        """
        through_s = now_s + self._longest_s
        for generation in (*self._waiting, *self._running):
            if generation.cancelled:
                self._end(generation, Finish.CANCELLED)
            elif generation.deadline.has_passed(through_s):
                self._end(generation, Finish.DEADLINE)
        self._let_go()
        room = Room(
            seqs=self.limits.max_seqs - len(self._running),
            kv_tokens=self.limits.kv_tokens - self.kv_used,
            prefill_tokens=self._prefill_tokens,
        )
        joining = admit(self._waiting, room)
        self._running += joining
        self._waiting = [generation for generation in self._waiting if generation not in joining]

    def _forward(self) -> list[tuple[Generation, torch.Tensor]]:
        """The logits [vocabulary] of the next token of each: those who run in one forward, those who join in another.

        Who joins stands behind who ran before, so both are ranges of slots.
        """
        joined = next((slot for slot, one in enumerate(self._running) if one.last is None), len(self._running))
        return self._forward_slots(0, joined) + self._forward_slots(joined, len(self._running))

    def _forward_slots(self, first: int, end: int) -> list[tuple[Generation, torch.Tensor]]:
        """Where the forward of a range raises, its halves are run, until the culprit stands alone and is ended."""
        batch = self._running[first:end]
        if not batch:
            return []
        chunks = [one.prompt if one.last is None else (one.last,) for one in batch]
        try:
            logits = self._runner.forward(first, chunks, [one.seen for one in batch])
            # Also what isn't a number is the fault of one alone.
            sound = logits.isfinite().all(dim=-1).tolist()
        except Exception as error:
            if len(batch) == 1:
                self._end(batch[0], Finish.FAILED, error=incident("forward raised", error))
                return []
            log.warning("a forward of %d sequences raised %r; running its halves", len(batch), error)
            middle = (first + end) // 2
            return self._forward_slots(first, middle) + self._forward_slots(middle, end)
        for one, chunk, is_sound in zip(batch, chunks, sound, strict=True):
            one.seen += len(chunk)
            if not is_sound:
                fault = ArithmeticError(f"logits after {one.seen} tokens are not finite")
                self._end(one, Finish.FAILED, error=incident("forward gave no numbers", fault))
        return [(one, row) for one, row in zip(batch, logits, strict=True) if one.finish is None]

    def _settle(self, rows: Sequence[tuple[Generation, torch.Tensor]]) -> None:
        """Picks everyone's next token, and lets go of those who are through."""
        if rows:
            generations = [generation for generation, _ in rows]
            tokens = sample(
                torch.stack([logits for _, logits in rows]),
                [generation.params for generation in generations],
                [generation.chance() for generation in generations],
            )
            now_s = self._clock()
            for generation, token in zip(generations, tokens, strict=True):
                delta = generation.take(token, ends=token in self._end_tokens, now_s=now_s)
                if delta is not None:
                    generation.speaks_at_s = now_s + self._say_every_s
                    self._said.append(Said(generation, delta))
        self._let_go()

    def _end(self, generation: Generation, finish: Finish, *, error: IsochroneError | None = None) -> None:
        self._said.append(Said(generation, generation.end(finish, error=error)))

    def _let_go(self) -> None:
        """Frees the slots of those who have ended. The last one moves to each gap."""
        self._waiting = [generation for generation in self._waiting if generation.finish is None]
        for slot in reversed(range(len(self._running))):
            if self._running[slot].finish is not None:
                if self._running[slot].finish is Finish.FAILED:
                    self._runner.cache.clear(slot)
                moved = self._running.pop()
                if slot < len(self._running):
                    self._runner.cache.move(len(self._running), slot, length=moved.seen)
                    self._running[slot] = moved
