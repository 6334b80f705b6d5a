"""How one run went, in the figures that people compare."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from math import ceil, nan
from statistics import median
from typing import Any

from isochrone.simulator.job import End
from isochrone.simulator.scenario import Scenario
from isochrone.simulator.tally import Tally

_PER_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class RouteOutcome:
    """Of one route."""

    route: str
    offered: int
    in_time: float
    """The fraction of its requests that were answered within their objective."""
    target: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one run of one setting. Fractions are of the requests offered, times of those answered."""

    offered: int
    offered_per_s: float
    of_capacity: float
    goodput_per_s: float
    """Answers within their objectives."""
    in_time: float
    late: float
    refused: float
    dropped: float
    expired: float
    """No answer by the deadline, or lost with a node."""
    p50_ms: float
    p99_ms: float
    mean_batch: float
    """Jobs."""
    busy: float
    """The fraction of the nodes' time that they computed."""
    expired_compute: float
    """The fraction of that which went to requests whose deadline had passed when their batch ended."""
    second_attempts: float
    cost_per_1000: float
    """Of answers in time, for the device time that was used."""
    provisioned_per_1000: float
    """The same, for all nodes all the time."""
    wh_per_1000: float | None
    """Watt hours of the device time used; None where no watts are given."""
    routes: tuple[RouteOutcome, ...]
    causes: dict[str, int]
    """Of requests that were not answered in time."""
    course: tuple[tuple[int, int], ...]
    """Offered and answered in time, in equal parts of the run, by their arrivals."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def outcome(scenario: Scenario, tally: Tally) -> Outcome:
    """What a tally comes to. Where nothing was answered, times and costs are not a number."""
    seconds = scenario.duration_s - scenario.warmup_s
    ends = {end: sum(of_route[end] for of_route in tally.ends) for end in End}
    offered = sum(ends.values())
    every = max(1, offered)
    latencies_s = sorted(latency_s for of_route in tally.latencies_s for latency_s in of_route)
    busy_s = sum(tally.busy_s.values())
    per_1000 = 1000 / ends[End.IN_TIME] if ends[End.IN_TIME] else nan
    devices = {pool: scenario.mesh.device(config.device) for pool, config in scenario.pools.items()}
    used = sum(devices[pool].cost_per_hour * of_pool for pool, of_pool in tally.busy_s.items()) / _PER_HOUR
    provisioned = sum(devices[pool].cost_per_hour * config.nodes for pool, config in scenario.pools.items())
    joules = [(devices[pool].watts, of_pool) for pool, of_pool in tally.busy_s.items()]
    known = all(watts is not None for watts, _ in joules)
    return Outcome(
        offered=offered,
        offered_per_s=offered / seconds,
        of_capacity=offered / seconds / scenario.capacity_per_s,
        goodput_per_s=ends[End.IN_TIME] / seconds,
        in_time=ends[End.IN_TIME] / every,
        late=ends[End.LATE] / every,
        refused=ends[End.REFUSED] / every,
        dropped=ends[End.DROPPED] / every,
        expired=(ends[End.EXPIRED] + ends[End.LOST]) / every,
        p50_ms=quantile_ms(latencies_s, 0.5),
        p99_ms=quantile_ms(latencies_s, 0.99),
        mean_batch=tally.batch_jobs / max(1, tally.batches),
        busy=busy_s / seconds / sum(config.nodes for config in scenario.pools.values()),
        expired_compute=tally.expired_s / max(busy_s, 1e-9),
        second_attempts=tally.second_attempts / every,
        cost_per_1000=used * per_1000,
        provisioned_per_1000=provisioned * seconds / _PER_HOUR * per_1000,
        wh_per_1000=sum((watts or 0.0) * s for watts, s in joules) / _PER_HOUR * per_1000 if known else None,
        routes=tuple(_routes(scenario, tally)),
        causes=dict(tally.causes.most_common()),
        course=tuple(zip(tally.offered_course, tally.in_time_course, strict=True)),
    )


def quantile_ms(in_order_s: Sequence[float], quantile: float) -> float:
    """Nearest rank, in milliseconds; not a number where there are none."""
    if not in_order_s:
        return nan
    return in_order_s[max(0, ceil(quantile * len(in_order_s)) - 1)] * 1e3


def _routes(scenario: Scenario, tally: Tally) -> Iterable[RouteOutcome]:
    for (name, route), ends, latencies_s in zip(scenario.routes.items(), tally.ends, tally.latencies_s, strict=True):
        offered = sum(ends.values())
        in_order_s = sorted(latencies_s)
        yield RouteOutcome(
            route=name,
            offered=offered,
            in_time=ends[End.IN_TIME] / max(1, offered),
            target=route.target,
            p50_ms=quantile_ms(in_order_s, 0.5),
            p99_ms=quantile_ms(in_order_s, 0.99),
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """What several runs say together: the median between the lowest and the highest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Figure:
        """Of one value at least."""
        found = sorted(values)
        return cls(median(found), found[0], found[-1])


def figure(outcomes: Sequence[Outcome], name: str) -> Figure:
    """One figure over the runs; one that a run doesn't have is not a number."""
    values = [getattr(each, name) for each in outcomes]
    return Figure.of(nan if value is None else value for value in values)
