"""Calls back for each request whose moment has come, with one timer for all of them.

A timer for each would wake an idle process once more for every request, long after that was answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from isochrone.deadline import Clock
from isochrone_router.flight import NEVER_S, Flight

EARLY_S = 0.0005
"""Timers of the event loop are in whole milliseconds; what is due within half of one is due."""


class Alarm:
    """Watches one kind of moment of all requests under way. Those that end before need no forgetting."""

    def __init__(
        self,
        flights: Iterable[Flight],
        *,
        moment: Callable[[Flight], float],
        ring: Callable[[Flight], None],
        clock: Clock,
        coarse_s: float = 0.0,
    ) -> None:
        """`ring` is called when a flight's `moment` has come, and has to end the flight or move its moment. Moments
        within `coarse_s` of each other may be seen to in one go, at the latest of them."""
        self._flights = flights
        self._moment = moment
        self._ring = ring
        self._clock = clock
        self._coarse_s = coarse_s
        self._timer: asyncio.TimerHandle | None = None
        self._look_at_s = NEVER_S

    def arm(self, at_s: float) -> None:
        """A flight has this moment now."""
        if at_s < self._look_at_s - self._coarse_s:
            if self._timer is not None:
                self._timer.cancel()
            self._look_at_s = at_s
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at_s - self._clock()), self._look)

    def _look(self) -> None:
        self._timer, self._look_at_s = None, NEVER_S
        now_s = self._clock() + EARLY_S
        first_s = NEVER_S
        due = []
        for flight in self._flights:
            moment_s = self._moment(flight)
            if moment_s <= now_s:
                due.append(flight)
            elif moment_s < first_s:
                first_s = moment_s
        if first_s < NEVER_S:
            self.arm(first_s)
        for flight in due:
            if not flight.is_over:
                self._ring(flight)
