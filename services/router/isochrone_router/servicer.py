"""A request in, an answer out: admission, plan, waiting, and leaving a margin before the deadline."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import NamedTuple

from google.rpc import code_pb2

from isochrone.config import RouteConfig, RouterConfig
from isochrone.deadline import Clock
from isochrone.errors import DeadlineExceeded, InvalidRequest, IsochroneError, Overloaded, Unavailable
from isochrone.ledger import Ledger
from isochrone.link.version import NEWEST
from isochrone.rpc import Answered, Call
from isochrone.status import code_of
from isochrone.telemetry import RouteStats
from isochrone.v1 import link_pb2
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
            name: Sla(route.objective_ms / 1e3, route.deadline_ms / 1e3, route.lanes) for name, route in routes.items()
        }
        self._limits = config.limits
        self._boot = boot
        self._flights = flights
        self._dispatcher = dispatcher
        self._margin = margin
        self._clock = clock
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        self._weights = Weights()
        self.stats = {route: RouteStats(clock) for route in routes}
        self.draining = False

    async def serve(self, call: Call) -> Answered:
        """Answers a call or raises an IsochroneError; either way with its budget where it got one."""
        stats = self.stats[call.route]
        try:
            flight, decision = self._admit(call)
        except IsochroneError as error:
            stats.add(code_pb2.Code.Name(code_of(error)), None)
            raise
        timer = self._loop.call_at(flight.deadline_at_s - self._margin.margin_s, self._expire, flight)
        self._dispatcher.dispatch(flight, decision)
        try:
            payload = await flight.answered
        except asyncio.CancelledError:
            stats.add("CANCELLED", None)
            raise
        except IsochroneError as error:
            error.budget = flight.ledger.report(self._clock())
            stats.add(code_pb2.Code.Name(code_of(error)), error.budget)
            raise
        finally:
            timer.cancel()
            self._dispatcher.finish(flight)
        self._weights.learn(call.route, size=len(call.request), units=flight.ledger.units)
        report = flight.ledger.report(self._clock())
        stats.add("OK", report)
        return Answered(payload, report)

    def _admit(self, call: Call) -> tuple[Flight, Plan]:
        """The request with its budget and plan. Raises what it is refused with."""
        objective_s, deadline_s, lanes = self._slas[call.route]
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
        )
        flight = Flight(
            id=number,
            call=call,
            ledger=Ledger(received_s=call.received_s, objective_s=objective_s, deadline_s=deadline_s),
            job=job,
            objective_at_s=objective_at_s,
            deadline_at_s=deadline_at_s,
            answered=self._loop.create_future(),
        )
        return flight, decision

    def _expire(self, flight: Flight) -> None:
        """The last moment at which an answer, even this one, still arrives in time."""
        self._margin.observe(late_s=self._clock() - (flight.deadline_at_s - self._margin.margin_s))
        flight.fail(DeadlineExceeded("no answer within the deadline"))
