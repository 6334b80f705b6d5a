"""All that a router process counts, read for whoever exports it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from isochrone import node_metrics
from isochrone import telemetry as t
from isochrone.link.node_link import LinkState
from isochrone_router.plan_stats import by_lane
from isochrone_router.route_stats import RouteStats
from isochrone_router.status import RouterStatus

_TOLD = (LinkState.LINKED, LinkState.SILENT, LinkState.DRAINING)


def of_router(status: RouterStatus) -> Iterator[t.Family]:
    """What it knows by itself."""
    stats = status.chronicle.stats
    ends = [(route, *end) for route, one in stats.items() for end in one.ends]
    yield t.Family(t.REQUESTS, [((route, tier, code), end.durations.total) for route, tier, code, end in ends])
    yield t.Family(t.DURATION, [((route, tier, code), end.durations) for route, tier, code, end in ends])
    yield t.Family(t.MET, [((route, tier), end.met) for route, tier, code, end in ends if code == "OK"])
    yield t.Family(
        t.STAGE,
        [
            ((route, stage), histogram)
            for route, one in stats.items()
            for stage, histogram in zip(t.STAGES, one.stages, strict=True)
        ],
    )
    yield t.Family(t.MISSES, _by(status, lambda one: one.misses))
    yield t.Family(t.REFUSALS, _by(status, lambda one: one.refusals))
    yield t.Family(
        t.FALLBACKS,
        [((route, *found), count) for route, one in stats.items() for found, count in one.fallbacks.items()],
    )
    yield t.Family(t.BY_ATTEMPTS, _by(status, lambda one: one.attempts))
    yield t.Family(t.BATCH_JOBS, [((route,), one.batch_jobs) for route, one in stats.items()])
    yield t.Family(t.BATCH_UNITS, [((route,), one.batch_units) for route, one in stats.items()])
    yield t.Family(t.BATCH_CLOSED, _by(status, lambda one: one.closed_by))
    yield t.Family(t.UNITS, [((route,), one.units) for route, one in stats.items()])
    streaming = [(route, one) for route, one in stats.items() if one.first_chunks.total]
    yield t.Family(t.FIRST_CHUNK, [((route,), one.first_chunks) for route, one in streaming])
    yield t.Family(t.CHUNK_INTERVAL, [((route,), one.chunk_intervals) for route, one in streaming])
    yield t.Family(t.FINISH, [((lane,), histogram) for lane, histogram in _finishes(stats.values()).items()])
    yield from _plans(stats)
    if status.callers is not None:
        yield from status.callers.readings()
    yield t.Family(t.OBJECTIVE, [((route,), sla.objective_ms / 1e3) for route, sla in status.routes.items()])
    yield t.Family(t.TARGET, [((route,), sla.target) for route, sla in status.routes.items()])
    yield t.alone(t.INFLIGHT, len(status.flights))
    yield t.alone(t.INFLIGHT_BYTES, status.flights.bytes)
    views = list(status.dispatcher.views.values())
    yield t.Family(t.LANE_DEPTH, [((view.lane,), view.depth) for view in views])
    yield t.Family(t.LANE_BACKLOG, [((view.lane,), status.backlog_s(view)) for view in views])
    seen = [((route, lane), found) for route in status.routes for lane, found in status.outlooks(route).items()]
    yield t.Family(t.LANE_EXPECTED, [(labels, found.expected_s) for labels, found in seen])
    yield t.Family(t.LANE_SPARE, [(labels, found.spare) for labels, found in seen if found.spare is not None])
    yield t.Family(t.LANE_OPEN, [((view.lane,), int(view.is_open)) for view in views])
    yield t.alone(t.REDIS_UP, int(status.gate.is_up))
    states = status.node_states()
    yield t.Family(t.NODES, [((state,), states.get(state, 0)) for state in LinkState])
    attempts = status.dispatcher.second_attempts
    yield t.alone(t.RESENT, attempts.made)
    yield t.alone(t.UNAFFORDABLE, attempts.denied)
    yield t.alone(t.HEDGES, attempts.hedges)
    yield t.alone(t.HEDGES_WON, attempts.hedges_won)
    yield t.alone(t.HEDGES_DENIED, attempts.hedges_denied)
    if status.export is not None:
        yield status.export.spans.family()
    if status.traces is not None:
        yield t.alone(t.UNTRACED, status.traces.untraced)


def of_all(status: RouterStatus) -> Iterator[t.Family]:
    """What it knows by itself, and what the nodes that it is linked to have told it."""
    yield from of_router(status)
    links = status.links.links.values()
    yield from node_metrics.families((link.name, link.report) for link in links if link.state in _TOLD)


def _plans(stats: Mapping[str, RouteStats]) -> Iterator[t.Family]:
    """Where requests were sent, and what came of that."""
    made = [((route, *key), plan) for route, one in stats.items() for key, plan in one.plans.items()]
    yield t.Family(t.PLANS, [(labels, plan.requests) for labels, plan in made])
    lanes = [((route, lane), plan) for route, one in stats.items() for lane, plan in by_lane(one.plans.items()).items()]
    yield t.Family(t.PLAN_RATIO, [(labels, plan.ratios) for labels, plan in lanes])
    yield t.Family(t.PLAN_ANSWERS, [(labels, plan.answers) for labels, plan in lanes])
    yield t.Family(t.PLAN_WITHIN, [(labels, plan.within) for labels, plan in lanes])
    yield t.Family(t.COST, [(labels, plan.cost) for labels, plan in lanes])
    yield t.Family(t.ENERGY, [(labels, plan.joules) for labels, plan in lanes if plan.joules])


def _finishes(stats: Iterable[RouteStats]) -> dict[str, t.Histogram]:
    """By lane, of all routes that use it."""
    found: dict[str, t.Histogram] = {}
    for one in stats:
        for lane, histogram in one.finishes.items():
            found[lane] = found[lane].plus(histogram) if lane in found else histogram
    return found


def _by(status: RouterStatus, counts: Callable[[RouteStats], Mapping[Any, int]]) -> list[tuple[t.Labels, float]]:
    """Of each route, what it counts by a second label."""
    return [
        ((route, str(label)), count)
        for route, one in status.chronicle.stats.items()
        for label, count in counts(one).items()
    ]
