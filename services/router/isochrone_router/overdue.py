"""Jobs that a node should have answered, or said that it has, by now: one timer for all of them.

A timer for each claim would wake an idle process once more for every request, long after that was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from isochrone.deadline import Clock
from isochrone_router.flight import NEVER_S, Flight

COARSE_S = 0.001
"""Moments this close together are seen to in one go."""


class Overdue:
    """Looks when the first of them may be overdue; those that were answered meanwhile need no forgetting."""

    def __init__(self, flights: Iterable[Flight], *, late: Callable[[Flight], None], clock: Clock) -> None:
        self._flights = flights
        self._late = late
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_s = NEVER_S

    def watch(self, flight: Flight, *, for_s: float) -> None:
        """The flight's latest holder has so long from now; after that `late` is called, once."""
        flight.overdue_at_s = at_s = self._clock() + for_s
        if at_s < self._look_at_s - COARSE_S:
            self._look_in(for_s, at_s)

    def _look_in(self, seconds: float, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._look_at_s = at_s
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer, self._look_at_s = None, NEVER_S
        now_s = self._clock()
        first_s = NEVER_S
        late = []
        for flight in self._flights:
            if flight.overdue_at_s <= now_s:
                flight.overdue_at_s = NEVER_S
                late.append(flight)
            elif flight.overdue_at_s < first_s:
                first_s = flight.overdue_at_s
        if first_s < NEVER_S:
            self._look_in(first_s - now_s, first_s)
        for flight in late:
            if not flight.answered.done():
                self._late(flight)
