"""What budgets add to a request in a session: plan, forecast, what was learnt, what it costs, and what is told of that.

No mesh runs: a request goes through the router's own parts in their order, on a clock that the case moves, once with
them and once without. A few microseconds would be lost in the noise of several processes.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque

from bench.reporting import Reporting
from bench.result import CaseResult, Verdict
from bench.runner import Runner
from bench.stats import Spread
from isochrone.config import RouteConfig
from isochrone.config.cache import CacheConfig
from isochrone.config.placing import DeviceConfig
from isochrone.keys import Tier
from isochrone.ledger import Ledger
from isochrone.rpc import Call
from isochrone.starting import Chunks, Done, Ended, Leave
from isochrone.v1 import budget_pb2
from isochrone_router.answer_cache import AnswerCache
from isochrone_router.decisions import Decisions
from isochrone_router.fallbacks import Fallbacks
from isochrone_router.hedging import Promises
from isochrone_router.lane_view import LaneView
from isochrone_router.past import StartTold, Tell
from isochrone_router.planner import Ask, Plan
from isochrone_router.plans import HOLDS_S, Plans
from isochrone_router.prices import Prices
from isochrone_router.waiting import RANK

TITLE = "a ranking through the router's parts, with budgets over without, two nodes, 5,000 requests a second"
ROUTE = "isochrone.v1.Recsys/Rank"
LANES = ("ranker.fp32@cpu", "ranker.int8@cpu")
RATE = 5_000
REQUESTS, TURNS = 20_000, 20
WAITING, JOBS, UNITS = 30, 7, 50
"""Requests that wait in the lane at least, jobs of a batch, and units of each."""
OBJECTIVE_S, PROMISED_S = 0.015, 0.003
LIMIT_US = 15


class Way(ABC):
    """The way of requests through some parts of the router."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self._done: list[Done] = []

    def request(self) -> None:
        """One more, as time goes on; and a batch is claimed and answered, when there was one more for each of its
        jobs."""
        self.now_s += 1 / RATE
        self.start(Call(ROUTE, b"", self.now_s, None, None), _ignored)
        if len(self._done) == JOBS:
            self.batch(budget_pb2.BatchInfo(jobs=JOBS, units=JOBS * UNITS, closed_by="all"))
            self._done.clear()

    @abstractmethod
    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave: ...

    @abstractmethod
    def batch(self, batch: budget_pb2.BatchInfo) -> None: ...

    def ledger(self, batch: budget_pb2.BatchInfo) -> Ledger:
        """Of a request that is over."""
        now_s = self.now_s
        ledger = Ledger(now_s - 0.006, 0.015, 0.1, lane=LANES[0])
        ledger.submitted_s, ledger.claimed_s, ledger.started_s = now_s - 0.0058, now_s - 0.005, now_s - 0.0045
        ledger.computed_s, ledger.replied_s, ledger.node = now_s - 0.001, now_s - 0.0004, "recsys-0"
        ledger.batch = batch
        ledger.units = UNITS
        return ledger


class Bare(Way):
    """A request has its report, and no more."""

    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        self._done.append(done)
        return _nothing

    def batch(self, batch: budget_pb2.BatchInfo) -> None:
        for done in self._done:
            done(Ended(b"", None, self.ledger(batch).report(self.now_s)))


class Budgeted(Way):
    """It is planned, foreseen, learnt from and priced besides, behind the layers of fallbacks that it has none of."""

    def __init__(self) -> None:
        super().__init__()
        views = [LaneView(lane) for lane in LANES]
        self._nodes = Reporting(views, nodes=2, base_us=600, per_unit_us=8, most=512)
        self._plans = Plans(views)
        self._decisions = Decisions(0.999)
        self._promises = Promises()
        self._prices = Prices(lambda device: DeviceConfig(cost_per_hour=1.0, watts=40))
        self._waiting: deque[tuple[Plan, bytes, float]] = deque()
        routes = {ROUTE: RouteConfig(objective_ms=15, deadline_ms=100, lanes=LANES)}
        self._front: StartTold = Fallbacks(
            self._own,
            routes,
            cache=AnswerCache(CacheConfig(), store=None, clock=lambda: self.now_s),
            judge=lambda route, report: None,
            tell=lambda past: None,
            margin_s=lambda: 0.0005,
            clock=lambda: self.now_s,
        ).start

    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        self._nodes.until(self.now_s, busy_s=0.001)
        return self._front(call, done, chunks, tell=tell)

    def _own(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        """A StartTold: as Servicer and Dispatcher do it, without what they did before there were plans."""
        now_s = self.now_s
        due_s = now_s + OBJECTIVE_S
        plan = self._plans.plan(Ask(UNITS, RANK[Tier.STANDARD], now_s, due_s, now_s + 0.0995, 0.999, 2048))
        assert isinstance(plan, Plan), plan
        forecast = self._plans.options[plan.lane].forecast
        forecast.submitted(Tier.STANDARD, units=UNITS, due_s=due_s, late=False, now_s=now_s)
        self._waiting.append((plan, self._decisions.of(plan), due_s))
        self._done.append(done)
        return _nothing

    def batch(self, batch: budget_pb2.BatchInfo) -> None:
        """The oldest are claimed and, what is later in life, answered."""
        if len(self._waiting) < WAITING:
            return
        now_s = self.now_s
        self._promises.overdue_after_s(LANES[0], PROMISED_S, now_s=now_s)
        self._promises.kept(LANES[0], promised_s=PROMISED_S, took_s=0.0031, now_s=now_s)
        for done in self._done:
            plan, opening, due_s = self._waiting.popleft()
            option = self._plans.options[plan.lane]
            option.forecast.left(Tier.STANDARD, due_s)
            ledger = self.ledger(batch)
            ledger.opening = opening
            if due_s - OBJECTIVE_S - plan.made_s < HOLDS_S:
                foretold_s = plan.finish.foretold_s
                option.correction.observe(foretold_s=foretold_s, took_s=foretold_s + 4e-4, now_s=now_s)
            report = ledger.report(now_s)
            self._prices.add_to(report, ledger)
            done(Ended(b"", None, report))


def _ignored(what: Ended) -> None: ...


def _nothing() -> None: ...


async def run(runner: Runner) -> CaseResult:
    """Rounds of requests without budgets and with them, turn by turn."""
    added: list[float] = []
    for round in range(1, runner.rounds + 1):
        bare_us, budgeted_us = _cpu_us(Bare(), Budgeted())
        added.append(budgeted_us - bare_us)
        runner.say(f"round {round} · with budgets {budgeted_us:.1f} µs a request, without {bare_us:.1f}")
    return CaseResult(
        name="machinery",
        title=TITLE,
        pinning="one process",
        verdicts=[Verdict("CPU that budgets add to a request", "≤", LIMIT_US, "µs", Spread.of(added))],
        measurements=[],
        notes=[f"claims and answers by {JOBS}, as batches have them"],
    )


def _cpu_us(*ways: Way) -> list[float]:
    """Of a request, each way's. They take turns: a machine that others share is quick now and slow then."""
    spent_s = [0.0] * len(ways)
    for turn in range(-1, TURNS):
        for place, way in enumerate(ways):
            began_s = time.process_time()
            for _ in range(REQUESTS // TURNS):
                way.request()
            if turn >= 0:  # the first is warm-up
                spent_s[place] += time.process_time() - began_s
    return [seconds / REQUESTS * 1e6 for seconds in spent_s]
