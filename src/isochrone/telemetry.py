"""What is counted, as plain numbers: cheap to add to, declared once, read by whoever exports them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from isochrone.v1 import budget_pb2

STAGES = tuple(name.removeprefix("STAGE_").lower() for name, number in budget_pb2.Stage.items() if number)

DURATION_BUCKETS_S = (
    *(0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.010, 0.012, 0.014, 0.015, 0.016, 0.018),
    *(0.020, 0.025, 0.030, 0.040, 0.050, 0.075, 0.100, 0.150, 0.250, 0.500, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds; fine around 15 ms, where a ranking's objective lies."""
STAGE_BUCKETS_S = (
    *(0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.010, 0.0125, 0.015),
    *(0.020, 0.030, 0.050, 0.075, 0.100, 0.250, 0.500, 1.0, 2.5, 10.0),
)
SIZE_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
UNIT_BUCKETS = (*SIZE_BUCKETS, 4096, 8192, 16384)
RATIO_BUCKETS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Of what was taken to what was promised."""


class Histogram:
    """Counts by bucket, the last one for what is over all bounds."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def __repr__(self) -> str:
        return f"<Histogram of {self.total}, {self.sum:g} together>"

    @property
    def total(self) -> int:
        return sum(self.counts)

    def observe(self, value: float, times: int = 1) -> None:
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times

    def quantile(self, q: float) -> float | None:
        """An estimate, straight between the bounds of its bucket; None where nothing was observed."""
        total = self.total
        if not total:
            return None
        wanted = q * total
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
        both.sum = self.sum + other.sum
        return both


class Kind(StrEnum):
    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


_UNITS_IN_NAMES = {"s": "seconds", "By": "bytes", "J": "joules"}


@dataclass(frozen=True)
class Instrument:
    """A metric as it is exported. The name is OpenTelemetry's, the unit UCUM's: "s", "By", "J", "1" for a ratio,
    "{job}" for what is counted, "" for what is 0 or 1."""

    name: str
    kind: Kind
    unit: str
    description: str
    labels: tuple[str, ...] = ()

    @cached_property
    def prometheus_name(self) -> str:
        """What a collector makes of the name for Prometheus, so that it is one metric whichever way it came.

        Source: https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
        """
        name = self.name.replace(".", "_")
        suffix = _UNITS_IN_NAMES.get(self.unit, "")
        if self.unit == "1" and self.kind is Kind.GAUGE:
            suffix = "ratio"
        if suffix and not name.endswith(f"_{suffix}"):
            name += f"_{suffix}"
        return f"{name}_total" if self.kind is Kind.COUNTER else name


Labels = tuple[str, ...]
"""Values, in the order of the instrument's labels."""


class Family(NamedTuple):
    """An instrument, read: a number for each set of labels that there is."""

    instrument: Instrument
    points: Sequence[tuple[Labels, float | Histogram]]


Read = Callable[[], Iterable[Family]]
"""Gives all that a process counts, one family at a time: in between, others may have their turn."""


def alone(instrument: Instrument, value: float) -> Family:
    """Of an instrument without labels."""
    return Family(instrument, (((), value),))


_C, _G, _H = Kind.COUNTER, Kind.GAUGE, Kind.HISTOGRAM
_ROUTE, _LANE, _ON_NODE, _ON_LANE = ("route",), ("lane",), ("node", "lane"), ("route", "lane")

# Of requests that are over.
DURATION = Instrument(
    "isochrone.request.duration",
    *(_H, "s", "From received to answered; to the first chunk, where the answer streams", ("route", "tier", "outcome")),
)
REQUESTS = Instrument(
    "isochrone.requests", _C, "{request}", "Requests that are over, by how they ended", ("route", "tier", "outcome")
)
MET = Instrument(
    "isochrone.objectives_met",
    *(_C, "{request}", "Requests answered OK within their objective, by their own answers", ("route", "tier")),
)
MISSES = Instrument(
    "isochrone.misses", _C, "{request}", "Requests over their objective, by the stage to blame", ("route", "blame")
)
STAGE = Instrument("isochrone.stage.duration", _H, "s", "Time that requests spent in a stage", ("route", "stage"))
REFUSALS = Instrument(
    "isochrone.refusals", _C, "{request}", "Requests refused on arrival: no node was given them", ("route", "reason")
)
FALLBACKS = Instrument(
    "isochrone.fallbacks",
    *(
        _C,
        "{request}",
        "Requests answered by what stood in, by what they had failed with",
        ("route", "source", "reason"),
    ),
)
BY_ATTEMPTS = Instrument(
    "isochrone.requests_by_attempts", _C, "{request}", "Requests by how often they were sent", ("route", "attempts")
)
BATCH_JOBS = Instrument(
    "isochrone.batch.jobs", _H, "{job}", "Jobs in the batch that an answer was made in, itself among them", _ROUTE
)
BATCH_UNITS = Instrument(
    "isochrone.batch.units", _H, "{unit}", "Units (rows, images, tokens) in the batch of an answer", _ROUTE
)
BATCH_CLOSED = Instrument(
    "isochrone.batch.closed", _C, "{request}", "Answers by why their batch ran then", ("route", "closed_by")
)
UNITS = Instrument("isochrone.units", _C, "{unit}", "Units (rows, images, tokens) of requests that ran", _ROUTE)
FIRST_CHUNK = Instrument(
    "isochrone.first_chunk", _H, "s", "From received to the first chunk, of answers that stream", _ROUTE
)
CHUNK_INTERVAL = Instrument(
    "isochrone.chunk_interval", _H, "s", "From chunk to chunk after the first, the mean of each answer", _ROUTE
)
FINISH = Instrument(
    "isochrone.finish_ratio", _H, "1", "Time from claim to reply, as a multiple of what the node promised", _LANE
)

# Of plans: by the lanes that a route may use.
PLANS = Instrument(
    "isochrone.plans", _C, "{request}", "Requests by the lane they were sent to, and why", ("route", "lane", "why")
)
PLAN_RATIO = Instrument(
    "isochrone.plan_ratio", _H, "1", "Time until an answer, as a multiple of what its plan expected", _ON_LANE
)
PLAN_ANSWERS = Instrument(
    "isochrone.plan_answers",
    _C,
    "{request}",
    "Answers of requests sent once, whose plans had foretold a time",
    _ON_LANE,
)
PLAN_WITHIN = Instrument(
    *("isochrone.plan_answers_within", _C, "{request}"),
    *("Of these, such as took no longer than was foretold at the quantile of the target", _ON_LANE),
)
COST = Instrument(
    "isochrone.cost", _C, "{cost}", "What answers have cost of their devices' time, in cost_per_hour's unit", _ON_LANE
)
ENERGY = Instrument(
    "isochrone.energy", _C, "J", "The energy of answers' share of their devices' time, where watts are given", _ON_LANE
)
LANE_EXPECTED = Instrument(
    "isochrone.lane.expected", _G, "s", "When a request that came now would be answered, by the forecast", _ON_LANE
)
LANE_SPARE = Instrument(
    "isochrone.lane.spare", _G, "1", "The share of a lane's time that work in time leaves, by the forecast", _ON_LANE
)

# Of callers, where any are configured.
CALLER_REQUESTS = Instrument(
    *("isochrone.caller.requests", _C, "{request}", "Requests by whose they were and how they ended"),
    ("caller", "tier", "outcome"),
)
CALLER_REFUSALS = Instrument(
    *("isochrone.caller.refusals", _C, "{request}", "Requests that a caller's credentials, tiers or quota refused"),
    ("caller", "reason"),
)
CALLER_QUOTA = Instrument(
    *("isochrone.caller.quota_used", _G, "1", "Part of a caller's quota that it uses in this process"),
    ("caller", "quota"),
)

# Of a route, from the configuration.
OBJECTIVE = Instrument("isochrone.objective", _G, "s", "What a route's answers should take at most", _ROUTE)
TARGET = Instrument("isochrone.target", _G, "1", "The fraction of a route's answers that should", _ROUTE)

# Of a router process.
INFLIGHT = Instrument("isochrone.inflight", _G, "{request}", "Requests under way in this process")
INFLIGHT_BYTES = Instrument("isochrone.inflight_bytes", _G, "By", "Request bytes held by this process")
LANE_DEPTH = Instrument("isochrone.lane.depth", _G, "{job}", "Jobs waiting in a lane, by the last count", _LANE)
LANE_BACKLOG = Instrument(
    "isochrone.lane.backlog", _G, "s", "Predicted work waiting in a lane, its nodes working side by side", _LANE
)
LANE_OPEN = Instrument("isochrone.lane.open", _G, "", "1 where jobs go through Redis, 0 over the links", _LANE)
REDIS_UP = Instrument("isochrone.redis_up", _G, "", "1 where Redis answers in time")
NODES = Instrument("isochrone.nodes", _G, "{node}", "Nodes by the state of their link", ("state",))
RESENT = Instrument("isochrone.second_attempts", _C, "{job}", "Jobs sent again")
UNAFFORDABLE = Instrument(
    "isochrone.second_attempts_denied", _C, "{job}", "Jobs not sent again for want of attempt budget"
)
HEDGES = Instrument(
    "isochrone.hedges", _C, "{job}", "Of these, such as were sent while the first might yet be answered"
)
HEDGES_WON = Instrument("isochrone.hedges_won", _C, "{job}", "Hedges that were answered first")
HEDGES_DENIED = Instrument(
    "isochrone.hedges_denied", _C, "{job}", "Hedges not made: the attempt budget was not full enough"
)
UNTRACED = Instrument(
    "isochrone.misses_untraced", _C, "{request}", "Requests that went wrong and were past the rate of those traced"
)

# Of a node: told by itself, and by the routers that are linked to it.
NODE_BATCHES = Instrument("isochrone.node.batches", _C, "{batch}", "Batches a node has run", _ON_NODE)
NODE_JOBS = Instrument("isochrone.node.jobs", _C, "{job}", "Jobs a node has run", _ON_NODE)
NODE_UNITS = Instrument("isochrone.node.units", _C, "{unit}", "Units (rows, images, tokens) a node has run", _ON_NODE)
NODE_DROPPED = Instrument(
    "isochrone.node.dropped", _C, "{job}", "Jobs a node gave up, since they could not be in time", _ON_NODE
)
NODE_COMPUTE = Instrument("isochrone.node.compute", _C, "s", "Time a node spent on forward calls", _ON_NODE)
NODE_WASTED = Instrument("isochrone.node.wasted", _C, "s", "Of that, on jobs that had expired when done", _ON_NODE)
NODE_BACKLOG = Instrument("isochrone.node.backlog_jobs", _G, "{job}", "Jobs on a node and not yet answered", ("node",))
NODE_STANDS_BACK = Instrument(
    "isochrone.node.stands_back",
    _G,
    "{node}",
    "1 while a node leaves a lane to much faster ones",
    _ON_NODE,
)
ENGINE_ACTIVE = Instrument("isochrone.engine.active", _G, "{job}", "Answers that an engine makes now", _ON_NODE)
ENGINE_WAITING = Instrument("isochrone.engine.waiting", _G, "{job}", "Answers that wait for an engine", _ON_NODE)
ENGINE_KV = Instrument(
    "isochrone.engine.kv_used", _G, "1", "Part of an engine's room for tokens that is held or may come to be", _ON_NODE
)

# Of any process that traces.
SPANS = Instrument("isochrone.spans", _C, "{span}", "Spans the collector has taken, and spans lost", ("state",))
