"""Which requests are traced: those that were sampled, and of those that went wrong the worst of each second."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable

from isochrone import wall
from isochrone.deadline import Clock
from isochrone_router.past import Past
from isochrone_router.request_spans import RequestSpans

LEAST_WINDOW_S = 1.0
APART_S = 0.002


class Traces:
    """A listener of the chronicle. Misses come in storms: past a rate, only the worst of them are kept."""

    def __init__(
        self,
        made: RequestSpans,
        *,
        export: Callable[[bytes, bytes], None],
        misses_per_s: float,
        clock: Clock,
    ) -> None:
        """`export` takes a resource and a span of it, both encoded."""
        self._made = made
        self._export = export
        self._clock = clock
        self._window_s = max(LEAST_WINDOW_S, 1 / misses_per_s) if misses_per_s else LEAST_WINDOW_S
        self._most = round(misses_per_s * self._window_s)
        self._worst: list[tuple[float, int, Past]] = []
        self._numbers = itertools.count()
        self._due: deque[Past] = deque()
        """Of windows that are over."""
        self._window: asyncio.TimerHandle | None = None
        self._making: asyncio.TimerHandle | None = None
        self.traced = 0
        self.untraced = 0
        """Requests that went wrong and that nobody sampled, past the rate."""

    def __repr__(self) -> str:
        return f"<Traces {self.traced} made, {self.untraced} misses untraced, {len(self._worst)} kept for now>"

    def __call__(self, past: Past) -> None:
        if past.place.span.is_sampled:
            self._make(past, forced=False)
        elif not past.is_in_order:
            self._keep(past)

    def flush(self) -> None:
        """Traces what has been kept, now."""
        for timer in (self._window, self._making):
            if timer is not None:
                timer.cancel()
        self._window = self._making = None
        self._due.extend(past for _, _, past in self._worst)
        self._worst = []
        while self._due:
            self._make(self._due.popleft(), forced=True)

    def _keep(self, past: Past) -> None:
        """Until the second is over and it is known which were the worst."""
        if not self._most:
            self.untraced += 1
            return
        if self._window is None:
            self._window = asyncio.get_running_loop().call_later(self._window_s, self._close_window)
        entry = (_badness(past), next(self._numbers), past)
        if len(self._worst) < self._most:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)
            self.untraced += 1

    def _close_window(self) -> None:
        self._window = None
        self._due.extend(past for _, _, past in self._worst)
        self._worst = []
        if self._making is None:
            self._make_next()

    def _make_next(self) -> None:
        """One at a time: requests come first."""
        if self._due:
            self._make(self._due.popleft(), forced=True)
        self._making = asyncio.get_running_loop().call_later(APART_S, self._make_next) if self._due else None

    def _make(self, past: Past, *, forced: bool) -> None:
        self.traced += 1
        for owner, span in self._made.of(past, offset_ns=wall.offset_ns(self._clock), forced=forced):
            self._export(owner, span)


def _badness(past: Past) -> float:
    """How far beyond its objective, as a multiple of it."""
    return past.report.total_us / max(1, past.report.objective_us)
