"""What budgets add to a request in a session: plan, forecast, what was learnt, what it costs, and what is told of that.

No mesh runs: a request goes through the router's own parts in their order, on a clock that the case moves, once with
them and once without. A few microseconds would be lost in the noise of several processes.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from functools import partial

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
from isochrone_router.fallbacks import Fallbacks
from isochrone_router.hedging import Promises
from isochrone_router.lane_view import LaneView
from isochrone_router.past import StartTold, Tell
from isochrone_router.planner import Ask, Plan
from isochrone_router.plans import Plans
from isochrone_router.prices import Prices
from isochrone_router.waiting import RANK

TITLE = "a ranking through the router's parts, with budgets over without, two nodes, 5,000 requests a second"
ROUTE = "isochrone.v1.Recsys/Rank"
LANES = ("ranker.fp32@cpu", "ranker.int8@cpu")
RATE = 5_000
REQUESTS = 20_000
WAITING = 30
"""Requests that are claimed so many requests later than they were planned."""
PROMISED_S = 0.003
LIMIT_US = 15


class Way(ABC):
    """The way of requests through some parts of the router."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def request(self) -> None:
        """One more, as time goes on."""
        self.now_s += 1 / RATE
        self.start(Call(ROUTE, b"", self.now_s, None, None), _ignored)

    @abstractmethod
    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave: ...

    def ledger(self) -> Ledger:
        """Of a request that is over."""
        now_s = self.now_s
        ledger = Ledger(now_s - 0.006, 0.015, 0.1, lane=LANES[0])
        ledger.submitted_s, ledger.claimed_s, ledger.started_s = now_s - 0.0058, now_s - 0.005, now_s - 0.0045
        ledger.computed_s, ledger.replied_s, ledger.node = now_s - 0.001, now_s - 0.0004, "recsys-0"
        ledger.batch = budget_pb2.BatchInfo(jobs=7, units=350, closed_by="all")
        ledger.units = 50
        return ledger


class Bare(Way):
    """A request has its report, and no more."""

    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        done(Ended(b"", None, self.ledger().report(self.now_s)))
        return _nothing


class Budgeted(Way):
    """It is planned, foreseen, learnt from and priced besides, behind the layers of fallbacks that it has none of."""

    def __init__(self) -> None:
        super().__init__()
        views = [LaneView(lane) for lane in LANES]
        self._nodes = Reporting(views, nodes=2, base_us=600, per_unit_us=8, most=512)
        self._plans = Plans(views)
        self._promises = Promises()
        self._prices = Prices(lambda device: DeviceConfig(cost_per_hour=1.0, watts=40))
        self._waiting: deque[tuple[Plan, float]] = deque()
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
        due_s = now_s + 0.015
        ask = Ask(50, RANK[Tier.STANDARD], now_s, due_s, now_s + 0.0995, 0.999, 2048)
        plan = self._plans.plan(ask)
        assert isinstance(plan, Plan), plan
        decision = budget_pb2.Decision(
            why=plan.why,
            expected_us=int(plan.finish.expected_s * 1e6),
            quantile_us=int(plan.quantile_s * 1e6),
            device=plan.lane.rpartition("@")[2],
        )
        forecast = self._plans.options[plan.lane].forecast
        forecast.submitted(Tier.STANDARD, units=50, due_s=due_s, late=False, now_s=now_s)
        self._waiting.append((plan, due_s))
        if len(self._waiting) > WAITING:
            self._claimed(*self._waiting.popleft())
        ledger = self.ledger()
        ledger.decision = decision
        self._promises.kept(plan.lane, promised_s=PROMISED_S, took_s=0.0031, now_s=now_s)
        option = self._plans.options[plan.lane]
        option.correction.observe(foretold_s=plan.finish.foretold_s, took_s=plan.finish.foretold_s + 4e-4, now_s=now_s)
        report = ledger.report(now_s)
        self._prices.add_to(report)
        done(Ended(b"", None, report))
        return _nothing

    def _claimed(self, plan: Plan, due_s: float) -> None:
        """One that waited is claimed now, and may be overdue later."""
        self._plans.options[plan.lane].forecast.left(Tier.STANDARD, due_s)
        self._promises.overdue_after_s(plan.lane, PROMISED_S, now_s=self.now_s)


def _ignored(what: Ended) -> None: ...


def _nothing() -> None: ...


async def run(runner: Runner) -> CaseResult:
    """Rounds of requests without budgets and with them, one after the other."""
    added: list[float] = []
    for round in range(1, runner.rounds + 1):
        bare_us, budgeted_us = _cpu_us(Bare()), _cpu_us(Budgeted())
        added.append(budgeted_us - bare_us)
        runner.say(f"round {round} · with budgets {budgeted_us:.1f} µs a request, without {bare_us:.1f}")
    return CaseResult(
        name="machinery",
        title=TITLE,
        pinning="one process",
        verdicts=[Verdict("CPU that budgets add to a request", "≤", LIMIT_US, "µs", Spread.of(added))],
        measurements=[],
        notes=[
            "answers one by one, and a claim for each: in a session several share them, and what their moments cost"
        ],
    )


def _cpu_us(way: Way) -> float:
    requests = partial(_times, way)
    requests(REQUESTS // 10)
    began_s = time.process_time()
    requests(REQUESTS)
    return (time.process_time() - began_s) / REQUESTS * 1e6


def _times(way: Way, count: int) -> None:
    for _ in range(count):
        way.request()
