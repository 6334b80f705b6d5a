"""A dispatcher with lanes and links that do as they are told, and requests given to it by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes import LANE, Awaited, FakeLanes, FakeLink, flight
from isochrone.config import LimitsConfig
from isochrone.keys import Queue
from isochrone.lane import LaneUnavailable
from isochrone.testing.virtual_time import virtual_clock
from isochrone.v1 import link_pb2
from isochrone_router.attempts import AttemptBudget
from isochrone_router.dispatch import Dispatcher
from isochrone_router.flight import Flight, Flights
from isochrone_router.lane_gate import LaneGate
from isochrone_router.lane_view import LaneView, LinkedNode
from isochrone_router.planner import Plan

INLINE_BYTES = 100
SOON_S = 0.001


class Desk:
    """A dispatcher with lanes and links that do as they are told."""

    def __init__(self, *names: str, burst: float = 100.0) -> None:
        clock = asyncio.get_running_loop().time
        self.links = [FakeLink(name, LANE) for name in names]
        self.lanes = FakeLanes()
        self.refuse = False
        self.flights = Flights(LimitsConfig())
        self.gate = LaneGate(
            self._open, on_change=self._gate_changed, on_count=self._counted, stall_s=0.05, clock=clock
        )
        self.attempts = AttemptBudget(0.0, burst=burst)
        self.dispatcher = Dispatcher(
            self.flights,
            gate=self.gate,
            attempts=self.attempts,
            inline_bytes=INLINE_BYTES,
            linger_s=0.0,
            clock=clock,
        )
        self.views = {LANE: LaneView(LANE)}
        self.dispatcher.use(self)  # type: ignore[arg-type]  # it is asked for views, and to refresh them

    async def _open(self) -> FakeLanes:
        if self.refuse:
            raise LaneUnavailable("away")
        return self.lanes

    def _gate_changed(self) -> None:
        self.dispatcher.gate_changed()

    def _counted(self, queue: Queue, jobs: int) -> None:
        self.views[queue.lane].forecast.waiting.others_are(queue.tier, jobs)

    # Links, as the dispatcher uses them.

    def refresh(self) -> None:
        view = self.views[LANE]
        was_open = view.is_open
        view.nodes = [LinkedNode(link, LANE) for link in self.links if link.takes_jobs]  # type: ignore[arg-type]
        view.is_open = self.gate.is_up and bool(view.nodes)
        if was_open and not view.is_open:
            self.dispatcher.lane_closed(LANE)

    def take_over_from(self, link: FakeLink) -> None:
        """No node here has a second address."""

    def tell_epoch(self, epoch: int) -> None:
        for link in self.links:
            link.tell_epoch(epoch)

    # What tests do with it, and see of it.

    @property
    def watched(self) -> int:
        """Jobs that are thought to wait in a lane."""
        return len(self.dispatcher._suspects)

    @property
    def depth(self) -> int:
        """Jobs that the forecast of the lane counts there."""
        return self.views[LANE].depth

    def into_the_lane(self, **changes: object) -> Awaited:
        one = flight(member=b"", **changes)  # type: ignore[arg-type]
        one.alternatives = tuple(self.views.values())
        self.dispatcher.dispatch(one, Plan(LANE))
        return one

    def over(self, link: FakeLink, **changes: object) -> Awaited:
        one = flight(member=b"", **changes)  # type: ignore[arg-type]
        one.alternatives = tuple(self.views.values())
        self.dispatcher.dispatch(one, Plan(LANE, LinkedNode(link, LANE)))  # type: ignore[arg-type]
        return one

    def claimed(self, link: FakeLink, *flights: Flight, finish_in_s: float = 0.010) -> None:
        """The node has taken them out of the lane, or got them over the link, and says so."""
        for one in flights:
            self.lanes.waiting.pop(one.member, None)
        self.dispatcher.claimed(link, [one.id for one in flights], finish_in_s)  # type: ignore[arg-type]

    def answered(
        self, link: FakeLink, one: Flight, payload: bytes = b"answer", *, attempt: int = 1, lane: str = LANE
    ) -> None:
        done = link_pb2.BatchDone(lane=lane, compute_us=5000)
        claimed_us = int(virtual_clock()() * 1e6)
        done.replies.add(job=one.id, payload=payload, units=3, claimed_us=claimed_us, attempt=attempt)
        self.dispatcher.batch_done(link, done)  # type: ignore[arg-type]

    def goes_down(self, link: FakeLink) -> None:
        link.takes_jobs = False
        link.given = 0  # as a link does by itself
        self.dispatcher.link_down(link)  # type: ignore[arg-type]


@asynccontextmanager
async def desk(*names: str, burst: float = 100.0) -> AsyncIterator[Desk]:
    at = Desk(*names, burst=burst)
    await at.gate.start()
    running = asyncio.create_task(at.gate.run())
    yield at
    running.cancel()
    for one in at.flights:
        at.dispatcher.finish(one)
    assert [link.given for link in at.links] == [0] * len(at.links), "every job given to a node is accounted for"
