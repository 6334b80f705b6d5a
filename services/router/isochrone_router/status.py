"""What the router knows of itself and its nodes, for people and tools."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isochrone.config import RouteConfig
from isochrone.deadline import Clock
from isochrone_router.callers import Callers
from isochrone_router.chronicle import Chronicle
from isochrone_router.dispatch import Dispatcher
from isochrone_router.flight import Flights
from isochrone_router.lane_gate import LaneGate
from isochrone_router.lane_view import LaneView
from isochrone_router.links import Links
from isochrone_router.outlook import Outlook, outlook
from isochrone_router.plan_stats import PlanStats, by_lane
from isochrone_router.route_stats import RouteStats
from isochrone_router.second_attempts import SecondAttempts
from isochrone_router.servicer import Servicer
from isochrone_router.session import Sessions

if TYPE_CHECKING:
    from isochrone.export import Export
    from isochrone_router.traces import Traces


_NONE = PlanStats()


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """Reads the live objects; keeps nothing."""

    mesh: str
    name: str
    boot: int
    started_s: float
    routes: Mapping[str, RouteConfig]
    servicer: Servicer
    chronicle: Chronicle
    flights: Flights
    dispatcher: Dispatcher
    gate: LaneGate
    links: Links
    sessions: Sessions
    callers: Callers | None
    traces: Traces | None
    export: Export | None
    clock: Clock

    def as_json(self) -> dict[str, Any]:
        return {
            "mesh": self.mesh,
            "router": {
                "name": self.name,
                "boot": f"{self.boot:016x}",
                "pid": os.getpid(),
                "uptime_s": round(self.clock() - self.started_s, 1),
                "draining": self.servicer.draining,
                "inflight": len(self.flights),
                "inflight_bytes": self.flights.bytes,
                "sessions": len(self.sessions),
                "routers": self.links.routers,
                "resent": self.dispatcher.second_attempts.made,
                "second_attempts": second_attempts(self.dispatcher.second_attempts),
            },
            "redis": {"state": self.gate.state, "epoch": self.gate.epoch},
            "routes": [self._route(route) for route in self.routes],
            "lanes": [self._lane(view) for view in self.dispatcher.views.values()],
            "nodes": self._nodes(),
            "callers": [] if self.callers is None else self.callers.as_json(),
        }

    def node_states(self) -> Mapping[str, int]:
        return Counter(str(link.state) for link in self.links.links.values())

    def backlog_s(self, view: LaneView) -> float:
        """Predicted seconds until the jobs waiting in a lane are done, its nodes working side by side."""
        if not view.nodes or not view.depth:
            return 0.0
        per_job_s = sum(node.per_job_s for node in view.nodes) / len(view.nodes)
        return view.depth * per_job_s / len(view.nodes)

    def outlooks(self, route: str) -> dict[str, Outlook]:
        """What each lane of a route has to offer now, in the order of the configuration; those that have nodes."""
        options, now_s = self.servicer.plans[route].options, self.clock()
        found = ((lane, outlook(option, self.routes[route], now_s=now_s)) for lane, option in options.items())
        return {lane: one for lane, one in found if one is not None}

    def _route(self, route: str) -> dict[str, Any]:
        config, stats = self.routes[route], self.chronicle.stats[route]
        lately = stats.lately()
        plans, outlooks = by_lane(stats.plans.items()), self.outlooks(route)
        met = stats.met
        return {
            "route": route,
            "objective_ms": config.objective_ms,
            "target": config.target,
            "deadline_ms": config.deadline_ms,
            "requests": stats.requests,
            "answered": stats.outcomes["OK"],
            "missed": stats.requests - met,
            "fallbacks": stats.fallbacks.total(),
            "errors": {code: count for code, count in stats.outcomes.items() if code != "OK"},
            "refused": dict(stats.refusals),
            "cost_per_1000": round(1000 * sum(plan.cost for plan in plans.values()) / met, 9) if met else None,
            "lanes": [
                _way(lane, plans.get(lane, _NONE), outlooks.get(lane), stats, met=met)
                for lane in dict.fromkeys((*config.all_lanes, *plans))
            ],
            "rate_per_s": round(lately.rate, 1),
            "p50_ms": _ms(lately.p50_s),
            "p99_ms": _ms(lately.p99_s),
            "attainment": None if lately.attainment is None else round(lately.attainment, 5),
        }

    def _lane(self, view: LaneView) -> dict[str, Any]:
        told = [state for node in view.nodes for state in node.link.report.lanes if state.lane == view.lane]
        states = [state for state in told if state.batches]
        count = max(1, len(states))
        outlooks = [self.outlooks(route) for route, config in self.routes.items() if view.lane in config.all_lanes]
        waits = [found[view.lane].wait_s for found in outlooks if view.lane in found]
        return {
            "lane": view.lane,
            "depth": view.depth,
            "mode": "lane" if view.is_open else "links",
            "mean_jobs": round(sum(state.mean_jobs for state in states) / count, 2),
            "mean_units": round(sum(state.mean_units for state in states) / count, 1),
            "nodes": len(view.nodes),
            "standing_back": sum(state.stands_back for state in told),
            "wait_ms": _ms(max(waits)) if waits else None,
        }

    def _nodes(self) -> list[dict[str, Any]]:
        return [
            {
                "name": link.name,
                "boot": f"{link.node:016x}",
                "address": link.address,
                "device": link.welcome.device,
                "state": link.state,
                "reason": link.trouble,
                "lanes": sorted(link.variants),
                "rtt_us": link.report.round_trip_us,
                "inflight": link.given,
                "backlog": link.report.backlog_jobs,
                "latency": {
                    lane.lane: {
                        "base_us": round(lane.latency.base_us, 1),
                        "per_unit_us": round(lane.latency.per_unit_us, 3),
                        "spread": round(lane.latency.spread, 3),
                    }
                    for lane in link.report.lanes
                },
                "batches": sum(lane.batches for lane in link.report.lanes),
                "jobs": sum(lane.jobs for lane in link.report.lanes),
                "dropped": sum(lane.dropped for lane in link.report.lanes),
                "compute_s": round(sum(lane.compute_s for lane in link.report.lanes), 6),
                "wasted_s": round(sum(lane.wasted_s for lane in link.report.lanes), 6),
            }
            for link in sorted(self.links.links.values(), key=lambda link: link.name)
        ]


def second_attempts(attempts: SecondAttempts) -> dict[str, int]:
    """How many were made, and of these such as were hedges; how many hedges won, and how many of both were denied."""
    return {
        "made": attempts.made,
        "denied": attempts.denied,
        "hedges": attempts.hedges,
        "hedges_won": attempts.hedges_won,
        "hedges_denied": attempts.hedges_denied,
    }


def _way(lane: str, plan: PlanStats, seen: Outlook | None, stats: RouteStats, *, met: int) -> dict[str, Any]:
    """A lane as a route uses it: what was sent there and why, what came of that, and what it has to offer now."""
    return {
        "lane": lane,
        "requests": plan.requests,
        "why": {why: one.requests for (of, why), one in stats.plans.items() if of == lane and one.requests},
        "took_ratio": round(plan.actual_s / plan.expected_s, 4) if plan.expected_s else None,
        "within": round(plan.within / plan.answers, 5) if plan.answers else None,
        "cost_per_1000": round(1000 * plan.cost / met, 9) if met else None,
        "expected_ms": None if seen is None else _ms(seen.expected_s),
        "within_ms": None if seen is None else _ms(seen.within_s),
        "spare": None if seen is None or seen.spare is None else round(seen.spare, 4),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 3)
