"""What is counted of every request, as plain numbers: cheap to add to, read by whoever exports them."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from isochrone.deadline import Clock
from isochrone.v1 import budget_pb2

DURATION_BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.010, 0.012, 0.014, 0.015, 0.016, 0.018),
    *(0.020, 0.025, 0.030, 0.040, 0.050, 0.075, 0.100, 0.150, 0.250, 0.500, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds; fine around 15 ms, where a ranking's objective lies."""
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
WINDOW_S = 15.0


STAGES = tuple(name.removeprefix("STAGE_").lower() for name, number in budget_pb2.Stage.items() if number)


class Histogram:
    """Counts by bucket, the last one for what is over all bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.total += times
        self.sum += value * times

    def quantile(self, q: float) -> float | None:
        """An estimate, straight between the bounds of its bucket; None where nothing was observed."""
        if not self.total:
            return None
        wanted = q * self.total
        seen = 0
        for index, count in enumerate(self.counts):
            if count and seen + count >= wanted:
                low = self.bounds[index - 1] if index else 0.0
                high = self.bounds[index] if index < len(self.bounds) else self.bounds[-1]
                return low + (high - low) * (wanted - seen) / count
            seen += count
        return self.bounds[-1]

    def plus(self, other: Histogram) -> Histogram:
        both = Histogram(self.bounds)
        both.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        both.total, both.sum = self.total + other.total, self.sum + other.sum
        return both


@dataclass(slots=True)
class RouteStats:
    """One route, since the process started and over the last 15 to 30 seconds."""

    clock: Clock
    outcomes: Counter[str] = field(default_factory=Counter)
    """Answers by gRPC code, "OK" among them."""
    met: int = 0
    """Answered OK within the objective."""
    stage_us: list[int] = field(default_factory=lambda: [0] * len(STAGES))
    """By stage, in the order of STAGES."""
    attempts: Counter[int] = field(default_factory=Counter)
    batch_jobs: Histogram = field(default_factory=lambda: Histogram(SIZE_BUCKETS))
    _past: Histogram = field(default_factory=lambda: Histogram(DURATION_BUCKETS_S))
    """Older than `_now`."""
    _now: Histogram = field(default_factory=lambda: Histogram(DURATION_BUCKETS_S))
    _before: Histogram = field(default_factory=lambda: Histogram(DURATION_BUCKETS_S))
    _met: list[int] = field(default_factory=lambda: [0, 0])
    _asked: list[int] = field(default_factory=lambda: [0, 0])
    _turned_s: float = -1.0

    @property
    def durations(self) -> Histogram:
        return self._past.plus(self._now)

    @property
    def requests(self) -> int:
        return sum(self.outcomes.values())

    def add(self, code: str, report: budget_pb2.BudgetReport | None) -> None:
        """A request is over. One that was refused before it had a budget has no report."""
        self._turn()
        self.outcomes[code] += 1
        self._asked[0] += 1
        if report is None:
            return
        # Of an answer that streams, what its objective is for: the first chunk.
        self._now.observe((report.first_us or report.total_us) / 1e6)
        for stage, spent_us in enumerate(report.stage_us):
            self.stage_us[stage] += spent_us
        self.attempts[report.attempts] += 1
        batch_jobs = report.batch.jobs
        if batch_jobs:
            self.batch_jobs.observe(batch_jobs)
        if code == "OK" and not report.missed:
            self.met += 1
            self._met[0] += 1

    def lately(self) -> Lately:
        """Rates and quantiles of the last window."""
        self._turn()
        both = self._now.plus(self._before)
        asked = sum(self._asked)
        age_s = WINDOW_S * (1 if self._before.total or self._asked[1] else 0) + self.clock() - self._turned_s
        return Lately(
            rate=asked / max(age_s, 1.0),
            p50_s=both.quantile(0.5),
            p99_s=both.quantile(0.99),
            attainment=sum(self._met) / asked if asked else None,
        )

    def _turn(self) -> None:
        """Starts a new half of the window where one is due."""
        now_s = self.clock()
        age_s = now_s - self._turned_s if self._turned_s >= 0 else 2 * WINDOW_S
        if age_s < WINDOW_S:
            return
        self._past = self.durations
        self._before = self._now if age_s < 2 * WINDOW_S else Histogram(DURATION_BUCKETS_S)
        self._met = [0, self._met[0] if age_s < 2 * WINDOW_S else 0]
        self._asked = [0, self._asked[0] if age_s < 2 * WINDOW_S else 0]
        self._now = Histogram(DURATION_BUCKETS_S)
        self._turned_s = now_s


@dataclass(frozen=True, slots=True)
class Lately:
    """How a route is doing now."""

    rate: float
    p50_s: float | None
    p99_s: float | None
    attainment: float | None
    """Fraction of all requests that were answered OK within the objective."""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric as it is exported: its name, what it says, and its labels."""

    name: str
    description: str
    labels: tuple[str, ...] = ()


REQUESTS = Instrument("isochrone_requests", "Requests answered, by gRPC code", ("route", "code"))
MET = Instrument("isochrone_objectives_met", "Requests answered OK within the objective", ("route",))
DURATION = Instrument(
    "isochrone_request_duration_seconds", "From received to answered; to the first chunk, where it streams", ("route",)
)
STAGE = Instrument("isochrone_stage_seconds", "Time that requests spent in a stage, added up", ("route", "stage"))
ATTEMPTS = Instrument("isochrone_requests_by_attempts", "Requests by how often they were sent", ("route", "attempts"))
BATCH_JOBS = Instrument("isochrone_batch_jobs", "Requests that shared an answer's batch", ("route",))
INFLIGHT = Instrument("isochrone_inflight", "Requests under way in this process")
INFLIGHT_BYTES = Instrument("isochrone_inflight_bytes", "Request bytes held by this process")
LANE_DEPTH = Instrument("isochrone_lane_depth", "Jobs waiting in a lane, by the last count", ("lane",))
LANE_BACKLOG = Instrument(
    "isochrone_lane_backlog_seconds", "Predicted work waiting in a lane, on all its nodes together", ("lane",)
)
LANE_OPEN = Instrument("isochrone_lane_open", "1 where jobs go through Redis, 0 over the links", ("lane",))
REDIS_UP = Instrument("isochrone_redis_up", "1 where Redis answers in time")
NODES = Instrument("isochrone_nodes", "Nodes by the state of their link", ("state",))
NODE_BATCHES = Instrument("isochrone_node_batches", "Batches a node has run", ("node", "lane"))
NODE_JOBS = Instrument("isochrone_node_jobs", "Jobs a node has run", ("node", "lane"))
RESENT = Instrument("isochrone_second_attempts", "Jobs sent again")
UNAFFORDABLE = Instrument("isochrone_second_attempts_denied", "Jobs not sent again for want of attempt budget")
