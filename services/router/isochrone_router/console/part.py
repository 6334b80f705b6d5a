"""What one process of a router has to say to the console, as plain JSON that another process can add to its own."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from typing import Any

from isochrone.link.node_link import NodeLink
from isochrone.telemetry import DURATION_BUCKETS_S, STAGES
from isochrone.v1 import link_pb2
from isochrone_router.history import (
    STEPS,
    Decided,
    DecisionCount,
    History,
    LaneCount,
    NodeCount,
    Reading,
    RouteCount,
    Span,
    Step,
)
from isochrone_router.lane_view import LaneView
from isochrone_router.outlook import Outlook
from isochrone_router.route_stats import RouteStats
from isochrone_router.status import RouterStatus, second_attempts
from isochrone_router.tally import NodeTally, RouteTally, Tally

LOOK_S = 1.0
FORMAT = 2
"""Of a part. Processes of one router are of one version, but for the moments in which it is replaced."""

BUCKETS = len(DURATION_BUCKETS_S) + 1
_REFUSED = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "INVALID_ARGUMENT")
"""Mostly at once: how long these took says nothing of how long answers take. They are requests, and not met."""

Part = dict[str, Any]

_NOTHING = RouteTally()


class OwnPart:
    """Reads this process's live objects, and its history."""

    def __init__(self, status: RouterStatus, tally: Tally) -> None:
        self._status = status
        self._tally = tally
        self.history = History(self._read, clock=status.clock)
        self._steps: deque[Part] = deque(maxlen=STEPS)
        self._texts: deque[str] = deque(maxlen=STEPS)
        """The steps that are over, once as they are and once encoded: each is made when it ends, so that who asks for
        all of them holds up no request."""
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<OwnPart of {self._status.name}, {self.history!r}>"

    def start(self) -> None:
        """Looks once a second from now on."""
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self.start)
        self.look()

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def look(self) -> None:
        """Takes the counts in. Cheap, at any time."""
        self.history.look()
        for step in self.history.steps(after=self._steps[-1]["number"] if self._steps else -1):
            self._steps.append(_step(step))
            self._texts.append(json.dumps(self._steps[-1], separators=(",", ":")))

    def as_part(self, *, after: int) -> Part:
        """With the steps past that number."""
        self.look()
        return {**self._now(), "steps": [step for step in self._steps if step["number"] > after]}

    def as_text(self, *, after: int) -> str:
        """The same as JSON."""
        self.look()
        told = json.dumps(self._now(), separators=(",", ":"))
        pairs = zip(self._steps, self._texts, strict=True)
        return f'{told[:-1]},"steps":[{",".join(text for step, text in pairs if step["number"] > after)}]}}'

    def _now(self) -> Part:
        status = self._status
        return {
            "format": FORMAT,
            "process": {
                "name": status.name,
                "boot": f"{status.boot:016x}",
                "uptime_s": round(status.clock() - status.started_s, 1),
                "draining": status.servicer.draining,
                "inflight": len(status.flights),
                "sessions": len(status.sessions),
                "second_attempts": second_attempts(status.dispatcher.second_attempts),
                "redis": status.gate.state,
            },
            "now": _span(self.history.now()),
            "window": _span(self.history.window()),
            "outlooks": {
                route: {lane: _outlook(one) for lane, one in status.outlooks(route).items()} for route in status.routes
            },
            "callers": [] if status.callers is None else status.callers.as_json(),
            "lanes": [self._lane(view) for view in status.dispatcher.views.values()],
            "nodes": [_node(link) for link in sorted(status.links.links.values(), key=lambda link: link.name)],
        }

    def _read(self) -> Reading:
        status = self._status
        return Reading(
            routes={
                route: _count(stats, self._tally.routes.get(route, _NOTHING))
                for route, stats in status.chronicle.stats.items()
            },
            nodes={name: _forecasts(node) for name, node in self._tally.nodes.items()},
            depths={lane: view.depth for lane, view in status.dispatcher.views.items()},
            runs={
                (state.lane, link.node): LaneCount(state.jobs, state.batches, state.units)
                for link in status.links.links.values()
                for state in link.report.lanes
            },
            decisions={
                decided: count
                for route, stats in status.chronicle.stats.items()
                for decided, count in _decisions(route, stats)
            },
        )

    def _lane(self, view: LaneView) -> dict[str, Any]:
        units = {node.link.variants[view.lane].unit for node in view.nodes}
        return {
            "lane": view.lane,
            "depth": view.depth,
            "backlog_ms": round(self._status.backlog_s(view) * 1e3, 3),
            "mode": "lane" if view.is_open else "links",
            "unit": units.pop() if units else "",
            "nodes": [node.link.name for node in view.nodes],
        }


def _count(stats: RouteStats, tally: RouteTally) -> RouteCount:
    """The one place where the console reads what is counted of requests."""
    durations = [0] * BUCKETS
    for _, code, end in stats.ends:
        if code not in _REFUSED:
            durations = [a + b for a, b in zip(durations, end.durations.counts, strict=True)]
    misses = stats.misses
    return RouteCount(
        requests=stats.requests,
        met=stats.met,
        durations=tuple(durations),
        stage_us=tuple(int(spent.sum * 1e6) - us for spent, us in zip(stats.stages, tally.beyond_us, strict=True)),
        blamed=tuple(misses[stage] for stage in STAGES),
    )


def _decisions(route: str, stats: RouteStats) -> Iterator[tuple[Decided, DecisionCount]]:
    for (lane, why), plan in stats.plans.items():
        counts = (plan.requests, plan.answers, plan.within, plan.expected_s, plan.actual_s, plan.cost)
        yield Decided(route, "plan", lane, str(why)), DecisionCount(*counts)
    for reason, count in stats.refusals.items():
        yield Decided(route, "refused", "", reason), DecisionCount(count)
    sources: Counter[str] = Counter()
    for (source, _), count in stats.fallbacks.items():
        sources[source] += count
    for source, count in sources.items():
        yield Decided(route, "fallback", "", source), DecisionCount(count)


def _outlook(one: Outlook) -> list[float | None]:
    """Milliseconds expected, and those that the target's part of requests will be within; spare time."""
    spare = None if one.spare is None else round(one.spare, 4)
    return [round(one.expected_s * 1e3, 3), round(one.within_s * 1e3, 3), spare]


def _forecasts(node: NodeTally) -> NodeCount:
    return NodeCount(node.jobs, node.predicted_us, node.actual_us)


def _step(step: Step) -> Part:
    return {
        "number": step.number,
        "routes": {name: _brief(count) for name, count in step.span.routes.items() if count.requests},
        "lanes": {
            name: [step.deepest.get(name, 0), count.jobs, count.batches]
            for name, count in step.span.lanes.items()
            if count.batches or step.deepest.get(name)
        },
    }


def _span(span: Span) -> dict[str, Any]:
    return {
        "seconds": round(span.seconds, 3),
        "routes": {
            name: [*_brief(count), list(count.stage_us), list(count.blamed)] for name, count in span.routes.items()
        },
        "nodes": span.nodes,
        "lanes": span.lanes,
        "decisions": [
            [*decided, *(round(number, 12) for number in count)]
            for decided, count in span.decisions.items()
            if count.requests or count.cost
        ],
    }


def _brief(count: RouteCount) -> list[Any]:
    """Requests, those that met the objective, and durations: a bucket's index and its count, where that isn't 0."""
    return [count.requests, count.met, [number for pair in enumerate(count.durations) if pair[1] for number in pair]]


def route_count(said: list[Any]) -> RouteCount:
    """Of a route in a span of a part."""
    requests, met, sparse, stage_us, blamed = said
    durations = [0] * BUCKETS
    add_durations(sparse, to=durations)
    return RouteCount(requests, met, tuple(durations), tuple(stage_us), tuple(blamed))


def add_durations(sparse: list[int], *, to: list[int]) -> None:
    """As a part has them: a bucket's index and its count, one after the other."""
    for index, count in zip(sparse[::2], sparse[1::2], strict=True):
        to[index] += count


def _node(link: NodeLink) -> dict[str, Any]:
    reported: Mapping[str, link_pb2.LaneState] = {state.lane: state for state in link.report.lanes}
    return {
        "name": link.name,
        "boot": f"{link.node:016x}",
        "address": link.address,
        "device": link.welcome.device,
        "host": link.welcome.host,
        "service": link.welcome.service,
        "state": str(link.state),
        "rtt_us": link.report.round_trip_us,
        "inflight": link.given,
        "backlog": link.report.backlog_jobs,
        "lanes": [
            _variant(variant, reported.get(lane, link_pb2.LaneState())) for lane, variant in link.variants.items()
        ],
    }


def _variant(variant: link_pb2.Variant, state: link_pb2.LaneState) -> dict[str, Any]:
    latency = state.latency if state.HasField("latency") else variant.latency
    return {
        "lane": variant.lane,
        "variant": variant.variant,
        "unit": variant.unit,
        "base_us": round(latency.base_us, 1),
        "per_unit_us": round(latency.per_unit_us, 3),
        "spread": round(latency.spread, 3),
        "batches": state.batches,
        "jobs": state.jobs,
        "dropped": state.dropped,
        "stands_back": state.stands_back,
        "compute_s": round(state.compute_s, 3),
        "wasted_s": round(state.wasted_s, 3),
    }
