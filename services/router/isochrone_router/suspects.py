"""Jobs that have been in a lane for suspiciously long: are they waiting, or did somebody take them and vanish?

A node that dies between claiming a job and saying so takes it along. The lane is urgency-ordered, so a job that
was passed over by a later one, or that waited while a node went away, is looked for in Redis: still there, it
waits; gone, and unclaimed a moment later, it is lost and sent again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from isochrone.deadline import Clock
from isochrone.keys import Queue
from isochrone.lane import LaneUnavailable
from isochrone_router.flight import Flight
from isochrone_router.lane_gate import LaneGate

LOOK_AFTER_S = 0.012
"""How long a job waits in a lane before anybody wonders."""
CLAIM_ON_ITS_WAY_S = 0.015
"""A job gone from the lane may have its claim on the way; after this it hasn't."""
AT_ONCE = 64


class Suspects:
    """Watches the unclaimed jobs of all lanes, with one timer while there are any."""

    def __init__(self, gate: LaneGate, *, resend: Callable[[Flight], None], clock: Clock) -> None:
        self._gate = gate
        self._resend = resend
        self._clock = clock
        self._waiting: dict[Flight, None] = {}
        self._passed_over: dict[Queue, tuple[float, float]] = {}
        self._suspicious_until_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looking: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Suspects {len(self._waiting)} watched>"

    def __len__(self) -> int:
        return len(self._waiting)

    def watch(self, flight: Flight) -> None:
        self._waiting[flight] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_AFTER_S, self._look)

    def forget(self, flight: Flight) -> None:
        self._waiting.pop(flight, None)

    def claimed(self, flight: Flight) -> None:
        """A node has said that it has this one: those due before it and submitted before it were passed over."""
        self._waiting.pop(flight, None)
        submitted_s, due = self._passed_over.get(flight.queue, (0.0, 0.0))
        if flight.due > due or self._clock() - submitted_s > 1.0:
            self._passed_over[flight.queue] = (flight.ledger.submitted_s, flight.due)

    def suspect_all(self) -> None:
        """A node went away or silent: whatever was submitted until now may have gone with it."""
        self._suspicious_until_s = self._clock()

    def _look(self) -> None:
        self._timer = None
        now_s = self._clock()
        by_queue: dict[Queue, list[Flight]] = {}
        for flight in self._waiting:
            if now_s - flight.ledger.submitted_s < LOOK_AFTER_S:
                break  # they are in the order of their submission
            # A lane's oldest is always looked for: with nothing behind it, nothing passes it over.
            if flight.queue not in by_queue or self._is_suspect(flight):
                by_queue.setdefault(flight.queue, []).append(flight)
        for queue, flights in by_queue.items():
            task = asyncio.create_task(self._look_for(queue, flights[:AT_ONCE]), name=f"look for jobs in {queue.lane}")
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(LOOK_AFTER_S, self._look)

    def _is_suspect(self, flight: Flight) -> bool:
        submitted_s, due = self._passed_over.get(flight.queue, (0.0, 0.0))
        passed_over = flight.ledger.submitted_s < submitted_s and flight.due < due
        return passed_over or flight.ledger.submitted_s < self._suspicious_until_s

    async def _look_for(self, queue: Queue, flights: list[Flight]) -> None:
        try:
            present = await self._gate.present(queue, flights)
        except (LaneUnavailable, TimeoutError):
            return  # Redis is going; then all of them are sent again anyway
        gone = [flight for flight, there in zip(flights, present, strict=True) if not there and flight.in_lane]
        if not gone:
            return
        await asyncio.sleep(CLAIM_ON_ITS_WAY_S)
        for flight in gone:
            if flight in self._waiting and flight.in_lane:
                self.suspect_all()  # whoever took it may have taken others
                self.forget(flight)
                self._resend(flight)
