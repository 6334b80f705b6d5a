"""What makes text, as its callers see it: prompts go in, pieces of text come out, and every prompt ends once.

Nothing here knows torch. Another engine takes the place of `TorchEngine` by keeping these promises:

- A submitted prompt's deltas end with exactly one that has a `finish`, whatever happens.
- A caller that stops listening, or is cancelled, has its prompt cancelled.
- What a greedy prompt is answered doesn't depend on what else runs, but for rounding: a larger batch adds up in
  another order, which decides only between tokens that are all but equally likely.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from isochrone.deadline import Deadline
from isochrone.errors import InvalidRequest, IsochroneError

MAX_STOPS = 8
MAX_STOP_CHARS = 64
MAX_TEMPERATURE = 100.0


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How a text is to go on."""

    max_tokens: int
    temperature: float = 0.0
    """0: the likeliest token each time."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability; 1: all."""
    top_k: int = 0
    """Only this many of the likeliest tokens; 0: all."""
    stop: tuple[str, ...] = ()
    """The text ends before the first of these."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine has room for."""

    max_context: int
    """Tokens of a prompt and its completion together."""
    kv_tokens: int
    """Tokens whose keys and values are kept at a time, over all running sequences."""
    max_seqs: int
    """Sequences that run at a time."""

    def check(self, token_ids: Sequence[int], params: SamplingParams) -> None:
        """Raises InvalidRequest naming the field of a prompt that no engine of these limits could ever run."""
        longest = min(self.max_context, self.kv_tokens)
        if not token_ids:
            raise InvalidRequest.of("prompt", "empty; there must be at least one token")
        if len(token_ids) >= longest:
            raise InvalidRequest.of(
                "prompt", f"{len(token_ids):,} tokens; the model's context holds {longest:,}, its answer included"
            )
        if not 1 <= params.max_tokens <= longest - len(token_ids):
            raise InvalidRequest.of(
                "max_tokens",
                f"{params.max_tokens:,} is not 1 to {longest - len(token_ids):,}, "
                f"what a prompt of {len(token_ids):,} tokens leaves of the context",
            )
        if not 0 <= params.temperature <= MAX_TEMPERATURE:  # so that NaN fails, too
            raise InvalidRequest.of("temperature", f"{params.temperature} is not 0 to {MAX_TEMPERATURE:g}")
        if not 0 < params.top_p <= 1:
            raise InvalidRequest.of("top_p", f"{params.top_p} is not above 0 and at most 1")
        if params.top_k < 0:
            raise InvalidRequest.of("top_k", f"{params.top_k} is negative")
        if len(params.stop) > MAX_STOPS:
            raise InvalidRequest.of("stop", f"{len(params.stop)} stop strings; there may be {MAX_STOPS}")
        for place, stop in enumerate(params.stop):
            if not 1 <= len(stop) <= MAX_STOP_CHARS:
                raise InvalidRequest.of(
                    f"stop[{place}]", f"{len(stop)} characters; there must be 1 to {MAX_STOP_CHARS}"
                )


class Finish(enum.Enum):
    """Why a text ends."""

    STOP = "stop"
    """The model said so, or a stop string came."""
    LENGTH = "length"
    """`max_tokens` is reached."""
    DEADLINE = "deadline"
    """Time is up."""
    CANCELLED = "cancelled"
    """Nobody listens any more."""
    FAILED = "failed"
    """The model raised, or gave no numbers: the delta's `error` is for the caller."""
    CLOSED = "closed"
    """The engine was closed before the text was through."""


class Delta(NamedTuple):
    """What is new of a text. A tuple, because one is made for every token."""

    text: str
    """Whole characters, and never part of a stop string. May be empty."""
    token_ids: tuple[int, ...]
    """The tokens made since the last delta, those that no text came of yet among them."""
    completion_tokens: int
    """Tokens made so far."""
    finish: Finish | None = None
    """None while it goes on."""
    error: IsochroneError | None = None

    def followed_by(self, later: Delta) -> Delta:
        """Both in one, for a listener who was slow."""
        return later._replace(text=self.text + later.text, token_ids=self.token_ids + later.token_ids)


@dataclass(frozen=True, slots=True)
class EngineStats:
    """How busy an engine is."""

    active: int
    """Sequences that are running."""
    waiting: int
    """Prompts that are not yet."""
    kv_used: int
    """Tokens of `Limits.kv_tokens` that running sequences hold or may come to."""

    def __repr__(self) -> str:
        return f"<EngineStats {self.active} active, {self.waiting} waiting, {self.kv_used:,} tokens held>"


class Engine(Protocol):
    """Makes text for many prompts at a time."""

    limits: Limits

    async def start(self) -> None:
        """Makes ready to run. Called once, on the event loop that prompts are submitted from."""

    async def watch(self) -> None:
        """Until it is closed. Raises the error that it can't go on after."""

    async def close(self, *, drain_s: float) -> None:
        """Takes no more prompts, lets those there are go on for `drain_s`, and ends the rest as CLOSED."""

    def submit(
        self, request_id: str, token_ids: Sequence[int], params: SamplingParams, deadline: Deadline
    ) -> AsyncIterator[Delta]:
        """The text that goes on from the prompt, in deltas; it is made whether or not they are read.

        The deadline is one of this process's monotonic clock: by then the text has ended with what there is.
        Raises InvalidRequest where the prompt doesn't fit the limits, Overloaded where too many wait, Unavailable
        before `start` and after `close`, and ValueError where a prompt of that id is still being answered.
        """

    def cancel(self, request_id: str) -> None:
        """Ends the prompt of that id, at the next step. Nothing happens where there is none."""

    def stats(self) -> EngineStats:
        """As of the last step."""
