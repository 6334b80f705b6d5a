"""A request in, an answer out: admission, plan, waiting, and leaving a margin before the deadline."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from google.rpc import code_pb2

from isochrone.config import RouteConfig, RouterConfig
from isochrone.deadline import Clock
from isochrone.errors import DeadlineExceeded, InvalidRequest, IsochroneError, Overloaded, Unavailable, UnknownRoute
from isochrone.keys import Tier
from isochrone.ledger import Ledger
from isochrone.link.version import NEWEST
from isochrone.methods import streams
from isochrone.rpc import Call
from isochrone.starting import Chunks, Done, Ended, Leave
from isochrone.status import code_of
from isochrone.telemetry import RouteStats
from isochrone.v1 import link_pb2
from isochrone_router.alarm import Alarm
from isochrone_router.dispatch import Dispatcher
from isochrone_router.flight import Flight, Flights
from isochrone_router.margin import AnswerMargin
from isochrone_router.planner import Plan, plan
from isochrone_router.weights import Weights


class Sla(NamedTuple):
    """What a route promises, and where its requests may go."""

    objective_s: float
    deadline_s: float
    lanes: tuple[str, ...]
    streams: bool


class Servicer:
    """Answers every route of the configuration."""

    def __init__(
        self,
        routes: Mapping[str, RouteConfig],
        config: RouterConfig,
        *,
        boot: int,
        flights: Flights,
        dispatcher: Dispatcher,
        margin: AnswerMargin,
        clock: Clock,
    ) -> None:
        self._slas = {
            name: Sla(route.objective_ms / 1e3, route.deadline_ms / 1e3, route.lanes, streams(name))
            for name, route in routes.items()
        }
        self._limits = config.limits
        self._boot = boot
        self._flights = flights
        self._dispatcher = dispatcher
        self._margin = margin
        self._clock = clock
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        self._expiries = Alarm(flights, moment=attrgetter("expires_at_s"), ring=self._expire, clock=clock)
        self._weights = Weights()
        self.stats = {route: RouteStats(clock) for route in routes}
        self.draining = False

    def start(self, call: Call, done: Done, chunks: Chunks | None = None) -> Leave:
        """A Start."""
        if call.route not in self._slas:
            raise UnknownRoute(f"no route {call.route!r} here; there is {', '.join(sorted(self._slas))}")
        try:
            flight, decision = self._admit(call, done, chunks)
        except IsochroneError as error:
            self.stats[call.route].add(code_pb2.Code.Name(code_of(error)), None)
            raise
        self._expiries.arm(flight.expires_at_s)
        self._dispatcher.dispatch(flight, decision)
        return partial(self._leave, flight)

    def _leave(self, flight: Flight) -> None:
        if not flight.is_over:
            flight.is_over = True
            self.stats[flight.call.route].add("CANCELLED", None)
            self._dispatcher.finish(flight)

    def _end(self, done: Done, flight: Flight) -> None:
        """It has been answered, or has failed."""
        self._dispatcher.finish(flight)
        report = flight.ledger.report(self._clock())
        route, error = flight.call.route, flight.error
        if error is None:
            self._weights.learn(route, size=len(flight.call.request), units=flight.ledger.units)
            self.stats[route].add("OK", report)
        else:
            error.budget = report
            self.stats[route].add(code_pb2.Code.Name(code_of(error)), report)
        done(Ended(flight.payload, error, report))

    def _admit(self, call: Call, done: Done, chunks: Chunks | None) -> tuple[Flight, Plan]:
        """The request with its budget and plan. Raises what it is refused with."""
        objective_s, deadline_s, lanes, is_stream = self._slas[call.route]
        if is_stream != (chunks is not None):
            told = "streams: ask for its chunks" if is_stream else "doesn't stream"
            raise InvalidRequest.of("route", f"the answer of {call.route} {told}")
        if self.draining:
            raise Unavailable("this router is leaving; connect to another", reason="DRAINING")
        if len(call.request) > self._limits.request_bytes:
            raise InvalidRequest.of(
                "request", f"has {len(call.request)} bytes; at most {self._limits.request_bytes} are taken"
            )
        if call.deadline_s is not None:
            deadline_s = min(deadline_s, call.deadline_s - call.received_s)
            objective_s = min(objective_s, deadline_s)
        if deadline_s <= self._margin.margin_s:
            raise DeadlineExceeded("the deadline had passed on arrival")
        refusal = self._flights.refusal(len(call.request), retry_after_s=objective_s)
        if refusal is not None:
            raise refusal
        decision = plan(
            [self._dispatcher.views[lane] for lane in lanes],
            variant=call.variant,
            lane_cap=self._limits.lane_jobs,
            retry_after_s=objective_s,
        )
        if isinstance(decision, Overloaded):
            self._dispatcher.recount(lanes)
        if isinstance(decision, IsochroneError):
            raise decision
        objective_at_s, deadline_at_s = call.received_s + objective_s, call.received_s + deadline_s
        number = next(self._numbers)
        job = link_pb2.Job(
            version=NEWEST,
            router=self._boot,
            id=number,
            route=call.route,
            objective_us=int(objective_at_s * 1e6),
            deadline_us=int(deadline_at_s * 1e6),
            weight=self._weights.estimate(call.route, size=len(call.request)),
            traceparent=call.traceparent,
            tracestate=call.tracestate,
        )
        flight = Flight(
            id=number,
            call=call,
            ledger=Ledger(received_s=call.received_s, objective_s=objective_s, deadline_s=deadline_s),
            job=job,
            objective_at_s=objective_at_s,
            deadline_at_s=deadline_at_s,
            over=partial(self._end, done),
            expires_at_s=deadline_at_s - self._margin.margin_s,
            chunks=chunks,
            tier=_tier(call.tier),
        )
        return flight, decision

    def _expire(self, flight: Flight) -> None:
        self._margin.observe(late_s=self._clock() - flight.expires_at_s)
        flight.fail(DeadlineExceeded("no answer within the deadline"))


def _tier(name: str) -> Tier:
    """Raises InvalidRequest for one that there isn't."""
    if not name:
        return Tier.STANDARD
    try:
        return Tier(name)
    except ValueError:
        raise InvalidRequest.of("tier", f"{name!r}: there is {', '.join(Tier)}") from None
