"""A moment on a monotonic clock by which something must be over.

Deadlines are values that are passed on. Whoever waits derives a timeout from one at the edge, and nobody
reads a wall clock: one that is stepped by an hour changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""Seconds on a monotonic clock. Injected everywhere, so that tests can turn it by hand."""

monotonic: Clock = time.monotonic


@dataclass(frozen=True, slots=True, order=True)
class Deadline:
    """A point in time, in seconds of the clock that made it."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float, *, now_s: float) -> Deadline:
        """The deadline `timeout_s` from `now_s`; an infinite timeout gives one that never comes."""
        return cls(now_s + timeout_s)

    @classmethod
    def never(cls) -> Deadline:
        return cls(math.inf)

    def remaining_s(self, now_s: float) -> float:
        """Seconds left, negative once it has passed."""
        return self.at_s - now_s

    def has_passed(self, now_s: float) -> bool:
        return now_s >= self.at_s

    def earlier(self, other: Deadline) -> Deadline:
        return self if self.at_s <= other.at_s else other

    def brought_forward(self, by_s: float) -> Deadline:
        """The same deadline, `by_s` sooner: the margin that an answer needs to arrive."""
        return Deadline(self.at_s - by_s)
