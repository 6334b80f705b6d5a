"""Owns every request until it is answered: into a lane or over a link, claimed, answered, and sent again on evidence.

    submitted ──► in the lane ──► claimed by a node ──► answered
         └──────► addressed to a node ──┘

A job is sent again only when its first copy is lost or late beyond doubt: the link of the node that had it broke;
the node's own prediction has passed by a margin; Redis went away; or it is gone from the lane and nobody says that
he has it. Whichever copy answers first is the answer; the others are cancelled and ignored.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter

from google.rpc import status_pb2

from isochrone.deadline import Clock
from isochrone.errors import Unavailable
from isochrone.link.node_link import NodeLink
from isochrone.status import from_status
from isochrone.v1 import link_pb2
from isochrone_router.alarm import Alarm
from isochrone_router.attempts import AttemptBudget
from isochrone_router.flight import NEVER_S, Flight, Flights
from isochrone_router.hedging import LOOK_AGAIN_S, Promises
from isochrone_router.lane_gate import LaneGate, lingering_s
from isochrone_router.lane_view import LaneView, LinkedNode
from isochrone_router.links import Links
from isochrone_router.planner import Plan, Why
from isochrone_router.second_attempts import SecondAttempts
from isochrone_router.suspects import Suspects

log = logging.getLogger(__name__)

COARSE_S = 0.001
AHEAD = 32
"""Chunks that a node may send of an answer before its caller has taken any: a stream's window over the link."""
LEAST_JOB_S = 0.0001
UNHEARD_S = 0.030
"""A node says at once that it has what was addressed to it; past this, it is asked no more."""


class Dispatcher:
    """Acts on plans and on what links say. Nothing here awaits on a request's behalf but its caller."""

    def __init__(
        self,
        flights: Flights,
        *,
        gate: LaneGate,
        attempts: AttemptBudget,
        inline_bytes: int,
        linger_s: float,
        clock: Clock,
    ) -> None:
        self._flights = flights
        self._gate = gate
        self._attempts = attempts
        self._inline_bytes = inline_bytes
        self._linger_s = linger_s
        self._clock = clock
        self._suspects = Suspects(gate, resend=self._lost_in_lane, clock=clock)
        self._overdue = Alarm(
            flights, moment=attrgetter("overdue_at_s"), ring=self._is_late, clock=clock, coarse_s=COARSE_S
        )
        self._links: Links | None = None
        self._promises = Promises()
        self.second_attempts = SecondAttempts(attempts, address=self._address, clock=clock)

    def __repr__(self) -> str:
        return f"<Dispatcher {self._flights!r}, {self._suspects!r}, {self.second_attempts.made} sent again>"

    def use(self, links: Links) -> None:
        """The links are made with this dispatcher as their listener, so they come after it."""
        self._links = links

    @property
    def views(self) -> Mapping[str, LaneView]:
        assert self._links is not None
        return self._links.views

    def dispatch(self, flight: Flight, plan: Plan) -> None:
        """Sends a request on its way."""
        flight.lane = flight.job.lane = flight.ledger.lane = plan.lane
        flight.job.attempt = flight.ledger.attempts = 1
        flight.tried_from_s = self._clock()
        if flight.chunks is not None:
            flight.job.credits = AHEAD
        self._attempts.earn()
        self._flights.add(flight)
        if isinstance(plan.node, LinkedNode):
            self._address(flight, plan.node.link)
            return
        flight.job.epoch = self._gate.epoch
        if len(flight.call.request) > self._inline_bytes:
            flight.job.ticket_bytes = len(flight.call.request)
        else:
            flight.job.payload = flight.call.request
        flight.member = flight.job.SerializeToString()
        flight.ledger.submitted_s = self._clock()
        self._suspects.watch(flight)
        self.views[flight.lane].forecast.submitted(
            flight.tier,
            units=flight.job.weight,
            due_s=flight.due_at_s,
            late=plan.why is Why.LATE,
            now_s=flight.tried_from_s,
        )
        objective_s = flight.ledger.objective_s
        linger_s = lingering_s(self._linger_s, objective_s=objective_s, spare_s=objective_s - plan.quantile_s)
        self._gate.submit(flight, linger_s=linger_s)

    def recount(self, lanes: Iterable[str]) -> None:
        """A request was refused for want of room in these lanes: finds out whether there is some again."""
        for lane in lanes:
            self._gate.recount(lane)

    def finish(self, flight: Flight) -> None:
        """The request is over, however it ended: whatever of it is still about is called back."""
        if not self._flights.remove(flight):
            return
        if flight.in_lane:
            self._gate.withdraw(flight)
            self._no_longer_waits(flight)
        for link in flight.holders:
            link.given -= 1
            link.cancel(flight.id)
        flight.holders.clear()

    # What links say (LinkEvents).

    def is_linked(self, node: int) -> bool:
        return self._links is not None and self._links.is_linked(node)

    def link_up(self, link: NodeLink) -> None:
        self._refresh()

    def link_changed(self, link: NodeLink) -> None:
        if not link.takes_jobs:
            self._suspects.suspect_all()
        self._refresh()

    def link_down(self, link: NodeLink) -> None:
        # It holds nothing any more, before anything else: what ends below may end others of them, as legs of one page.
        lost = [(flight, flight.holders[-1] is link) for flight in self._flights if link in flight.holders]
        for flight, _ in lost:
            flight.holders.remove(link)
        if self._links is not None:
            self._links.take_over_from(link)
        self._refresh()
        self._suspects.suspect_all()
        for flight, was_last in lost:
            if link is flight.streams_from:
                told = f"its node is gone, after {flight.ledger.chunks} chunks of the answer"
                flight.fail(Unavailable(told, reason="STREAM_BROKEN"))
            elif was_last:
                self.second_attempts.resend(flight, why="its node is gone", had=link)

    def claimed(self, link: NodeLink, jobs: Sequence[int], finish_in_s: float) -> None:
        now_s = self._clock()
        overdue_at_s, after_s, of_lane = NEVER_S, 0.0, ""
        for job in jobs:
            flight = self._flights.get(job)
            if flight is None:
                link.cancel(job)
                continue
            if flight.in_lane:
                self._suspects.claimed(flight)
                self._left_lane(flight)
                flight.holders.append(link)
                link.given += 1
            elif link not in flight.holders:  # given up for lost, and here it is
                if flight.streams_from is not None:
                    link.cancel(job)
                    continue
                flight.holders.insert(0, link)
                link.given += 1
                self.second_attempts.turned_up(flight)
            if flight.holders[-1] is link and flight.streams_from is None:  # of the latest copy
                flight.claimed_at_s = now_s
                flight.predicted_s = finish_in_s
                if flight.lane != of_lane:
                    of_lane = flight.lane
                    after_s = self._promises.overdue_after_s(of_lane, finish_in_s, now_s=now_s)
                flight.overdue_at_s = now_s + after_s
                overdue_at_s = min(overdue_at_s, flight.overdue_at_s)
        if overdue_at_s < NEVER_S:
            self._overdue.arm(overdue_at_s)

    def chunk(self, link: NodeLink, chunk: link_pb2.Chunk) -> None:
        flight = self._flights.get(chunk.job)
        if flight is None or flight.chunks is None or link not in flight.holders:
            return  # its caller has left, and the node was told so
        if flight.streams_from is None:
            self._streams_from(flight, link)
        if link is flight.streams_from:
            flight.ledger.chunks += 1
            flight.chunks(chunk.payload, partial(self._taken, flight))

    def batch_done(self, link: NodeLink, done: link_pb2.BatchDone) -> None:
        now_s = self._clock()
        lane = done.lane if done.lane in self.views else ""  # one of ours: what nodes say is never a label
        batch = done.batch if done.HasField("batch") else None
        started_s = done.started_us / 1e6
        computed_s = started_s + done.compute_us / 1e6
        told_s = -1.0
        for reply in done.replies:
            flight = self._flights.get(reply.job)
            if flight is None or flight.streams_from not in (None, link):
                continue
            if link in flight.holders:
                flight.holders.remove(link)
                link.given -= 1
            elif flight.in_lane:
                self._left_lane(flight)
            flight.answered_by = link
            ledger = flight.ledger
            ledger.won = reply.attempt
            if ledger.attempts > 1:
                self.second_attempts.answered(flight, attempt=reply.attempt)
            elif flight.predicted_s and flight.claimed_at_s != told_s:  # those claimed together had one promise
                told_s = flight.claimed_at_s
                took_s = now_s - told_s
                self._promises.kept(flight.lane, promised_s=flight.predicted_s, took_s=took_s, now_s=now_s)
            if lane:
                ledger.lane = lane
            ledger.claimed_s = reply.claimed_us / 1e6
            ledger.started_s = started_s
            ledger.computed_s = computed_s
            ledger.replied_s = now_s
            ledger.node = link.name
            ledger.batch = batch
            ledger.units = reply.units
            if reply.status:
                flight.fail(from_status(status_pb2.Status.FromString(reply.status)))
            else:
                flight.answer(reply.payload)

    def returned(self, link: NodeLink, jobs: Sequence[int]) -> None:
        for job in jobs:
            flight = self._flights.get(job)
            if flight is not None and link in flight.holders:
                flight.holders.remove(link)
                link.given -= 1
                why = "its node gave it back" if link.takes_jobs else "its node is leaving"
                self.second_attempts.resend(flight, why=why, had=link, not_run=True)

    def reported(self, link: NodeLink) -> None:
        if self._links is not None:
            self._links.reported(link)

    def payload_of(self, job: int) -> bytes | None:
        flight = self._flights.get(job)
        return None if flight is None else flight.call.request

    def gate_changed(self) -> None:
        """Redis has come or gone."""
        assert self._links is not None
        self._links.tell_epoch(self._gate.epoch)
        self._refresh()

    def lane_closed(self, lane: str) -> None:
        """Redis is away, or nobody claims from the lane that could answer: what waits in it goes over the links."""
        for flight in self._flights:
            if flight.in_lane and flight.lane == lane:
                self._gate.withdraw(flight)
                self._no_longer_waits(flight)
                self.second_attempts.resend(flight, why="its lane is closed", not_run=True)

    def _refresh(self) -> None:
        if self._links is not None:
            self._links.refresh()

    def _address(self, flight: Flight, link: NodeLink) -> None:
        """Sends a job straight to a node."""
        job, now_s = flight.job, self._clock()
        job.epoch = self._gate.epoch
        job.ticket_bytes = 0
        job.payload = flight.call.request
        flight.ledger.direct = True
        flight.ledger.submitted_s = flight.ledger.submitted_s or now_s
        flight.holders.append(link)
        link.given += 1
        link.submit(job)
        # Until it says itself how long it will be busy; with others in one batch, at the least.
        link.free_at_s = max(link.free_at_s, now_s) + LEAST_JOB_S
        flight.claimed_at_s = 0.0
        flight.overdue_at_s = now_s + UNHEARD_S
        self._overdue.arm(flight.overdue_at_s)

    def _streams_from(self, flight: Flight, link: NodeLink) -> None:
        """Its first chunk has come. Another copy of it, on its way or elsewhere, is no longer wanted."""
        flight.streams_from = link
        flight.ledger.first_s = self._clock()
        flight.overdue_at_s = NEVER_S
        for other in [holder for holder in flight.holders if holder is not link]:
            flight.holders.remove(other)
            other.given -= 1
            other.cancel(flight.id)

    def _taken(self, flight: Flight) -> None:
        """Its caller has taken a chunk. The node is told of several at a time."""
        flight.untold += 1
        if flight.untold >= AHEAD // 2 and not flight.is_over and flight.streams_from is not None:
            flight.streams_from.grant(flight.id, flight.untold)
            flight.untold = 0

    def _is_late(self, flight: Flight) -> None:
        """Its node's own prediction has passed by a margin, or the node hasn't said that it has it."""
        flight.overdue_at_s = NEVER_S
        if not flight.holders:
            return
        if not flight.claimed_at_s:
            why = "its node doesn't say that it has it"
            self.second_attempts.resend(flight, why=why, had=flight.holders[-1], may_answer=True)
        elif flight.streams_from is None and not self.second_attempts.hedge(flight):
            flight.overdue_at_s = self._clock() + LOOK_AGAIN_S
            self._overdue.arm(flight.overdue_at_s)

    def _left_lane(self, flight: Flight) -> None:
        """The job no longer waits in its lane: a node has it, or had it."""
        self._gate.left(flight.queue)
        self._no_longer_waits(flight)

    def _no_longer_waits(self, flight: Flight) -> None:
        self._suspects.forget(flight)
        self.views[flight.lane].forecast.left(flight.tier, flight.due_at_s)
        flight.member = b""

    def _lost_in_lane(self, flight: Flight) -> None:
        self._left_lane(flight)
        # Its claim may yet come, if only late.
        self.second_attempts.resend(flight, why="no node says that it has it", may_answer=True)
