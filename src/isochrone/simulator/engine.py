"""The virtual clock: what happens next, in order of time and, at one moment, of when it was planned."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

Act = Callable[..., None]


class Engine:
    """A heap of what is to come. Time passes when somebody takes the next thing off it."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._heap: list[tuple[float, int, Act, tuple[Any, ...]]] = []
        self._planned = 0

    def __repr__(self) -> str:
        return f"<Engine at {self.now_s:.6f} s, {len(self._heap)} to come>"

    def at(self, when_s: float, act: Act, *args: Any) -> None:
        """Has something happen at a moment; one that has passed means now."""
        self._planned += 1
        heapq.heappush(self._heap, (when_s if when_s > self.now_s else self.now_s, self._planned, act, args))

    def after(self, seconds: float, act: Act, *args: Any) -> None:
        """Has something happen that much later."""
        self._planned += 1
        heapq.heappush(self._heap, (self.now_s + seconds, self._planned, act, args))

    def run(self, until_s: float) -> None:
        """Lets everything happen up to that moment."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until_s:
            self.now_s, _, act, args = pop(heap)
            act(*args)
        self.now_s = until_s
