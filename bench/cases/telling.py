"""What it costs to tell of requests afterwards: to count and judge each, and to trace all of them or one in a hundred.

No mesh runs: the router's own parts are given requests that are over, as they are when a session is answered, and the
process's CPU is read before and after. A few microseconds would be lost in the noise of several processes.
"""

from __future__ import annotations

import time

from bench.result import CaseResult, Verdict
from bench.runner import Runner
from bench.stats import Spread, in_digits
from isochrone.deadline import monotonic
from isochrone.ledger import Ledger
from isochrone.otlp import BATCH_SPANS
from isochrone.spans import export_request
from isochrone.tracing import Sampler
from isochrone.v1 import budget_pb2, link_pb2
from isochrone_router.chronicle import Chronicle
from isochrone_router.past import Past
from isochrone_router.planner import Finish, Plan
from isochrone_router.prices import Price
from isochrone_router.request_spans import RequestSpans
from isochrone_router.route_stats import RouteStats
from isochrone_router.traces import Traces

TITLE = "a ranking that is over, told of as the router does it"
ROUTE = "isochrone.v1.Recsys/Rank"
REQUESTS = 5_000


class Told:
    """A chronicle whose traces go nowhere, but are strung together to messages as if they did."""

    def __init__(self, sample: float) -> None:
        own = {"service.name": "isochrone-router", "service.instance.id": "router", "host.name": "bench"}
        self._waiting: list[tuple[bytes, bytes]] = []
        self._sampler = Sampler(sample)
        made = RequestSpans(own)
        self._traces = Traces(made, export=self._export, misses_per_s=0, clock=monotonic)
        self._chronicle = Chronicle([ROUTE], listeners=[self._traces], clock=monotonic)
        self.longest_s = 0.0
        self.spans = 0

    def request(self) -> None:
        """All that a request has to do with being told of; its ledger's report it has anyway."""
        now_s = monotonic()
        place = self._sampler.place()
        if place.span.is_sampled:
            str(place.span)
        ledger = Ledger(now_s - 0.006, 0.015, 0.1, trace_id=place.span.trace_id.to_bytes(16), lane="ranker.fp32@cpu")
        ledger.submitted_s, ledger.claimed_s, ledger.started_s = now_s - 0.0058, now_s - 0.005, now_s - 0.0045
        ledger.computed_s, ledger.replied_s, ledger.node = now_s - 0.001, now_s - 0.0004, "recsys-0"
        ledger.batch = budget_pb2.BatchInfo(jobs=7, units=350, closed_by="all")
        report = ledger.report(now_s)
        self._chronicle.judge(ROUTE, report)
        began_s = time.thread_time()
        past = Past(ROUTE, "OK", "", ledger.received_s, report, place, peer=_PEER, predicted_us=4_000)
        self._chronicle.tell(past._replace(plan=_PLAN, price=_PRICE))
        self.longest_s = max(self.longest_s, time.thread_time() - began_s)

    def _export(self, owner: bytes, span: bytes) -> None:
        self.spans += 1
        self._waiting.append((owner, span))
        if len(self._waiting) == BATCH_SPANS:
            by_owner: dict[bytes, list[bytes]] = {}
            for whose, one in self._waiting:
                by_owner.setdefault(whose, []).append(one)
            export_request(by_owner)
            self._waiting.clear()


class Reported(Told):
    """The same request, which has its report and no more."""

    def __init__(self) -> None:
        super().__init__(0)

    def request(self) -> None:
        now_s = monotonic()
        ledger = Ledger(now_s - 0.006, 0.015, 0.1, lane="ranker.fp32@cpu")
        ledger.submitted_s, ledger.claimed_s, ledger.started_s = now_s - 0.0058, now_s - 0.005, now_s - 0.0045
        ledger.computed_s, ledger.replied_s, ledger.node = now_s - 0.001, now_s - 0.0004, "recsys-0"
        ledger.batch = budget_pb2.BatchInfo(jobs=7, units=350, closed_by="all")
        past = Past(ROUTE, "OK", "", ledger.received_s, ledger.report(now_s), _PLACE, predicted_us=4_000)
        self._over(past._replace(plan=_PLAN, price=_PRICE))

    def _over(self, past: Past) -> None: ...


class Counted(Reported):
    """The same, counted."""

    def __init__(self) -> None:
        super().__init__()
        self._stats = RouteStats(monotonic)

    def _over(self, past: Past) -> None:
        self._stats.add(past)


_PLACE = Sampler(0).place()
_PLAN = Plan("ranker.fp32@cpu", finish=Finish(0.0055, 0.005, 0.0), quantile_s=0.008)
_PRICE = Price(4e-7, 0.0)
_PEER = link_pb2.Welcome(
    node=1, name="recsys-0", device="cpu", service="isochrone-recsys", host="bench",
    variants=[link_pb2.Variant(lane="ranker.fp32@cpu", variant="ranker.fp32", unit="rows")],
)  # fmt: skip


async def run(runner: Runner) -> CaseResult:
    """Rounds of none counted, traced or judged, none traced or judged, one in a hundred traced, and all traced."""
    added: dict[float, list[float]] = {0.01: [], 1.0: []}
    counted: list[float] = []
    longest_ms: list[float] = []
    for round in range(1, runner.rounds + 1):
        bare_us, floor_us = _cpu_us(Reported()), _cpu_us(Counted())
        counted.append(floor_us - bare_us)
        for sample, found in added.items():
            told = Told(sample)
            found.append(_cpu_us(told) - floor_us)
            runner.say(f"round {round} · {sample:.0%} traced: {found[-1]:.1f} µs a request, {told.spans} spans")
        longest_ms.append(told.longest_s * 1e3)
    return CaseResult(
        name="telling",
        title=TITLE,
        pinning="one process",
        verdicts=[
            Verdict("CPU of a request that is counted, over one that isn't", "≤", 8, "µs", Spread.of(counted)),
            Verdict(
                "CPU of a request that is judged and may be traced, over one that is counted, 1 % traced",
                "≤",
                8,
                "µs",
                Spread.of(added[0.01]),
            ),
            Verdict("the same, all traced", "≤", 150, "µs", Spread.of(added[1.0])),
        ],
        measurements=[],
        notes=[
            f"longest step of all in CPU time, messages of {BATCH_SPANS} spans strung together in some: "
            f"{in_digits(Spread.of(longest_ms).median)} ms"
        ],
    )


def _cpu_us(told: Told) -> float:
    for _ in range(REQUESTS // 10):
        told.request()
    told.longest_s = 0.0
    began_s = time.process_time()
    for _ in range(REQUESTS):
        told.request()
    return (time.process_time() - began_s) / REQUESTS * 1e6
