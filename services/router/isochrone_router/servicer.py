"""A request in, an answer out: admission, plan, waiting, and leaving a margin before the deadline."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple

from google.rpc import code_pb2

from isochrone.config import RouteConfig, RouterConfig
from isochrone.deadline import Clock
from isochrone.errors import (
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    IsochroneError,
    Unavailable,
    UnknownRoute,
)
from isochrone.keys import Tier
from isochrone.ledger import Ledger
from isochrone.link.version import NEWEST
from isochrone.methods import streams
from isochrone.rpc import Call
from isochrone.starting import Chunks, Done, Ended, Leave
from isochrone.status import code_of
from isochrone.tracing import Sampler
from isochrone.v1 import budget_pb2, link_pb2
from isochrone_router.alarm import Alarm
from isochrone_router.chronicle import Chronicle
from isochrone_router.decisions import Decisions, of_error
from isochrone_router.dispatch import Dispatcher
from isochrone_router.flight import Flight, Flights
from isochrone_router.holding import Holding, hold_s
from isochrone_router.margin import AnswerMargin
from isochrone_router.past import Tell
from isochrone_router.planner import Ask, Plan, Refused, Why, late_due_s
from isochrone_router.plans import HOLDS_S, Plans
from isochrone_router.prices import Prices
from isochrone_router.waiting import RANK
from isochrone_router.weights import Weights

log = logging.getLogger(__name__)


WAY_BACK_SHARE = 0.25
"""The most of its objective that is kept for an answer's way back."""


class Sla(NamedTuple):
    """What a route promises, and where its requests may go."""

    objective_s: float
    deadline_s: float
    target: float
    lanes: tuple[str, ...]
    streams: bool
    hold: float
    """The part of the time to spare that requests for dear lanes wait for company."""


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
        sampler: Sampler,
        chronicle: Chronicle,
        prices: Prices,
        clock: Clock,
    ) -> None:
        self._slas = {
            name: Sla(
                route.objective_ms / 1e3,
                route.deadline_ms / 1e3,
                route.target,
                route.all_lanes,
                streams(name),
                route.hold,
            )
            for name, route in routes.items()
        }
        self.plans = {
            name: Plans(
                [dispatcher.views[lane] for lane in route.lanes], [dispatcher.views[lane] for lane in route.smaller]
            )
            for name, route in routes.items()
        }
        self._decisions = {name: Decisions(route.target) for name, route in routes.items()}
        self._prices = prices
        self._limits = config.limits
        self._boot = boot
        self._flights = flights
        self._dispatcher = dispatcher
        self._margin = margin
        self._sampler = sampler
        self._chronicle = chronicle
        self._clock = clock
        self._numbers = itertools.count(1)
        self._loop = asyncio.get_running_loop()
        self._expiries = Alarm(flights, moment=attrgetter("expires_at_s"), ring=self._expire, clock=clock)
        self._weights = Weights()
        self._holding: Holding[Flight] = Holding(at=self._call_at, release=self._go_together)
        self.draining = False

    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        """A Start. `tell` hears of the request when it is over, in place of the chronicle: the whole does of which it
        is a part."""
        sla = self._slas.get(call.route)
        if sla is None:
            raise UnknownRoute(f"no route {call.route!r} here; there is {', '.join(sorted(self._slas))}")
        tell = tell or self._chronicle.tell
        flight = self._flight(call, sla, chunks, over=partial(self._end, done, tell))
        try:
            decision = self._admit(flight, sla)
        except IsochroneError as error:
            self._refused(flight, error, tell)
            raise
        self._expiries.arm(flight.expires_at_s)
        if not self._hold(flight, decision, sla):
            self._dispatcher.dispatch(flight, decision)
        return partial(self._leave, tell, flight)

    def refuse(self, call: Call, error: IsochroneError, chunks: Chunks | None, *, tell: Tell | None) -> None:
        """A Refuse. Of a route that there isn't, nothing is told: not even that there isn't."""
        sla = self._slas.get(call.route)
        if sla is not None:
            flight = self._flight(call, sla, chunks, over=_nobody)
            flight.ledger.tier = call.tier or Tier.STANDARD
            self._refused(flight, error, tell or self._chronicle.tell)

    def _refused(self, flight: Flight, error: IsochroneError, tell: Tell) -> None:
        flight.is_over, flight.error = True, error
        flight.ledger.opening = flight.ledger.opening or of_error(error)
        error.budget = report = self._report(flight)
        tell(flight.past(report, code=code_pb2.Code.Name(code_of(error))))

    def _leave(self, tell: Tell, flight: Flight) -> None:
        if not flight.is_over:
            flight.is_over = True
            self._dispatcher.finish(flight)
            tell(flight.past(self._report(flight), code="CANCELLED"))

    def _end(self, done: Done, tell: Tell, flight: Flight) -> None:
        """It has been answered, or has failed."""
        self._dispatcher.finish(flight)
        report, error = self._report(flight), flight.error
        self._learn(flight)
        if error is None:
            self._weights.learn(flight.call.route, size=len(flight.call.request), units=flight.ledger.units)
        else:
            error.budget = report
            if isinstance(
                error, Internal
            ):  # its node, which has logged the rest, knows the trace only if it is sampled
                trace = {"trace_id": flight.ledger.trace_id.hex()}
                log.warning("incident %s: %s on %s", error.incident, flight.call.route, report.node, extra=trace)
        done(Ended(flight.payload, error, report))
        tell(flight.past(report, code="OK" if error is None else code_pb2.Code.Name(code_of(error))))

    def _learn(self, flight: Flight) -> None:
        """What it took, against what was foretold; of such as had no answer in time, what they took so far."""
        plan, option, ledger = flight.plan, flight.option, flight.ledger
        if plan is None or option is None or plan.why is Why.LATE or ledger.attempts > 1:
            return
        if flight.error is None or isinstance(flight.error, DeadlineExceeded):
            now_s = self._clock()
            took_s = (ledger.first_s or now_s) - flight.planned_s
            option.correction.observe(foretold_s=plan.finish.foretold_s, took_s=took_s, now_s=now_s)

    def _report(self, flight: Flight) -> budget_pb2.BudgetReport:
        report = flight.ledger.report(self._clock())
        flight.price = self._prices.add_to(report, flight.ledger)
        self._chronicle.judge(flight.call.route, report)
        return report

    def _flight(self, call: Call, sla: Sla, chunks: Chunks | None, *, over: Callable[[Flight], None]) -> Flight:
        """The request with its budget, and its place in its trace."""
        objective_s, deadline_s = sla.objective_s, sla.deadline_s
        if call.deadline_s is not None:
            deadline_s = min(deadline_s, call.deadline_s - call.received_s)
            objective_s = min(objective_s, deadline_s)
        place = self._sampler.place(call.traceparent, call.tracestate)
        deadline_at_s = call.received_s + deadline_s - call.reserve_s
        expires_at_s = deadline_at_s - self._margin.margin_s
        return Flight(
            id=next(self._numbers),
            call=call,
            ledger=Ledger(
                received_s=call.received_s,
                objective_s=max(0.0, objective_s),
                deadline_s=max(0.0, deadline_s),
                trace_id=place.span.trace_id.to_bytes(16),
                caller=call.caller,
            ),
            place=place,
            due_at_s=min(call.received_s + objective_s, expires_at_s),
            deadline_at_s=deadline_at_s,
            over=over,
            expires_at_s=expires_at_s,
            chunks=chunks,
        )

    def _admit(self, flight: Flight, sla: Sla) -> Plan:
        """Where it goes. Raises what it is refused with."""
        call, ledger = flight.call, flight.ledger
        if sla.streams != (flight.chunks is not None):
            told = "streams: ask for its chunks" if sla.streams else "doesn't stream"
            raise InvalidRequest.of("route", f"the answer of {call.route} {told}")
        flight.tier = ledger.tier = _tier(call.tier)
        if self.draining:
            raise Unavailable("this router is leaving; connect to another", reason="DRAINING")
        if len(call.request) > self._limits.request_bytes:
            raise InvalidRequest.of(
                "request", f"has {len(call.request)} bytes; at most {self._limits.request_bytes} are taken"
            )
        if ledger.deadline_s - call.reserve_s <= self._margin.margin_s:
            raise DeadlineExceeded("the deadline had passed on arrival")
        refusal = self._flights.refusal(len(call.request), retry_after_s=ledger.objective_s)
        if refusal is not None:
            raise refusal
        units = self._weights.estimate(call.route, size=len(call.request))
        decision = self._plan(flight, sla, units=units)
        span = flight.place.span
        flight.job = link_pb2.Job(
            version=NEWEST,
            router=self._boot,
            id=flight.id,
            route=call.route,
            objective_us=int((ledger.received_s + self._on_node_s(call.route, ledger.objective_s)) * 1e6),
            deadline_us=int(flight.deadline_at_s * 1e6),
            weight=units,
            tier=flight.tier,
            traceparent=str(span) if span.is_sampled else "",  # else nobody would look at it
            tracestate=call.tracestate,
        )
        return decision

    def _plan(self, flight: Flight, sla: Sla, *, units: int) -> Plan:
        """Where it goes. Raises what it is refused with."""
        call = flight.call
        ask = self._ask(flight, sla, units=units)
        plan = self.plans[call.route].plan(ask, variant=call.variant)
        if isinstance(plan, Refused):
            flight.ledger.opening = self._decisions[call.route].of(plan)
            if plan.reason == "QUEUE_FULL":
                self._dispatcher.recount(sla.lanes)
            raise plan.error()
        self._goes(flight, plan, ask)
        return plan

    def _ask(self, flight: Flight, sla: Sla, *, units: int) -> Ask:
        return Ask(
            units=units,
            rank=RANK[flight.tier],
            now_s=self._clock(),
            due_s=flight.due_at_s,
            end_s=flight.expires_at_s,
            target=sla.target,
            lane_cap=self._limits.lane_jobs,
        )

    def _goes(self, flight: Flight, plan: Plan, ask: Ask) -> None:
        """Notes where."""
        route = flight.call.route
        plans = self.plans[route]
        if plan.why is Why.LATE:
            flight.due_at_s = late_due_s(ask)
        flight.plan, flight.planned_s = plan, ask.now_s
        if ask.now_s - plan.made_s < HOLDS_S:  # else it was foretold for another, too long ago to learn from
            flight.option = plans.options[plan.lane]
        flight.alternatives = plans.views_of(flight.call.variant)
        flight.ledger.opening = self._decisions[route].of(plan)

    def _hold(self, flight: Flight, plan: Plan, sla: Sla) -> bool:
        """Lets it wait for company, if it should."""
        if not sla.hold or flight.call.variant is not None:
            return False
        plans = self.plans[flight.call.route]
        forecast = plans.options[plan.lane].forecast
        due_in_s = flight.due_at_s - flight.planned_s
        seconds = hold_s(plan, due_in_s=due_in_s, share=sla.hold, forecast=forecast, cheapest=plans.cheapest)
        if seconds:
            self._flights.add(flight)
            until_s, weight = flight.planned_s + seconds, flight.job.weight
            self._holding.hold(flight, plan.lane, until_s=until_s, units=weight, full_units=forecast.batch_units)
        return bool(seconds)

    def _go_together(self, flights: Sequence[Flight]) -> None:
        """They have waited for company, and are planned anew: for a lane that is cheaper if that has time by now. One
        that would be refused by now keeps its plan; it was let in."""
        for flight in flights:
            if flight.is_over or flight.plan is None:
                continue
            route, held_from_s = flight.call.route, flight.planned_s
            ask = self._ask(flight, self._slas[route], units=flight.job.weight)
            plan = self.plans[route].plan(ask)
            if isinstance(plan, Plan):
                self._goes(flight, plan, ask)
            else:
                plan, flight.option = flight.plan, None
            held_s = ask.now_s - held_from_s
            finish = plan.finish._replace(expected_s=plan.finish.expected_s + held_s)
            flight.plan = plan._replace(finish=finish, quantile_s=plan.quantile_s + held_s)
            flight.ledger.opening = self._decisions[route].of_held(flight.plan, held_s=held_s)
            self._dispatcher.dispatch(flight, flight.plan)

    def _call_at(self, at_s: float, call: Callable[[], None]) -> object:
        return self._loop.call_later(max(0.0, at_s - self._clock()), call)

    def _on_node_s(self, route: str, objective_s: float) -> float:
        """By when a node is to be done: the answer still has to come back."""
        return objective_s - min(self._chronicle.way_back_s(route), WAY_BACK_SHARE * objective_s)

    def _expire(self, flight: Flight) -> None:
        self._margin.observe(late_s=self._clock() - flight.expires_at_s)
        flight.fail(DeadlineExceeded("no answer within the deadline"))


def _nobody(_: Flight) -> None:
    """It was refused: nobody waits for its end."""


def _tier(name: str) -> Tier:
    """Raises InvalidRequest for one that there isn't."""
    if not name:
        return Tier.STANDARD
    try:
        return Tier(name)
    except ValueError:
        raise InvalidRequest.of("tier", f"{name!r}: there is {', '.join(Tier)}") from None
