"""Who joins the running batch now: a pure decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from isochrone.deadline import Deadline


class Candidate(Protocol):
    """What is known of a prompt that waits."""

    @property
    def deadline(self) -> Deadline: ...

    @property
    def prompt_tokens(self) -> int: ...

    @property
    def reserved_tokens(self) -> int:
        """The most it may come to, prompt and completion."""
        ...


@dataclass(frozen=True, slots=True)
class Room:
    """What is left for those who wait."""

    seqs: int
    kv_tokens: int
    prefill_tokens: int
    """Tokens of prompts in one step, padding included: those who run wait for them. One prompt is always let in."""


_C = TypeVar("_C", bound=Candidate)


def admit(waiting: Sequence[_C], room: Room) -> list[_C]:
    """Those who join now, the most urgent first; of equals, who came first.

    Each is given room for all it may come to, so that nobody who runs is ever thrown out for want of it. Who is
    next and doesn't fit keeps the rest waiting: else a large prompt would see small ones go by for ever.
    """
    joining: list[_C] = []
    kv_left = room.kv_tokens
    longest = 0
    for candidate in sorted(waiting, key=lambda candidate: candidate.deadline):
        longest = max(longest, candidate.prompt_tokens)
        padded = longest * (len(joining) + 1)
        if (
            len(joining) == room.seqs
            or candidate.reserved_tokens > kv_left
            or (joining and padded > room.prefill_tokens)
        ):
            break
        joining.append(candidate)
        kv_left -= candidate.reserved_tokens
    return joining
