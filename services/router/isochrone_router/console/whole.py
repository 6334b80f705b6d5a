"""The parts of all processes of a router, put together for the page: counts are added, then made figures of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

from isochrone.config import RouteConfig
from isochrone.methods import streams
from isochrone.telemetry import DURATION_BUCKETS_S, STAGES, Histogram
from isochrone_router.console.decisions import decisions, outlooks, told
from isochrone_router.console.part import BUCKETS, Part, add_durations, route_count
from isochrone_router.history import LaneCount, NodeCount, RouteCount

_HEALTH = ("refused", "dialling", "silent", "draining", "linked", "spare")
"""Worst first: what the router as a whole says of a node that its processes see differently."""
NOTHING = RouteCount(0, 0, (0,) * BUCKETS, (0,) * len(STAGES), (0,) * len(STAGES))
_Count = TypeVar("_Count", RouteCount, NodeCount)


class Whole:
    """Reads parts; the first is of the process that was asked."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self.steps: list[int] = sorted({step["number"] for part in parts for step in part["steps"]})
        """Numbers of those that the parts tell of."""
        self._decisions = {span: decisions(parts, span) for span in ("now", "window")}
        self._steps = [{step["number"]: step for step in part["steps"]} for part in parts]

    def route(self, name: str, config: RouteConfig | None) -> dict[str, Any]:
        """A route's promise, what it did now and lately, and its figures step by step."""
        lanes = list(config.all_lanes) if config else []
        return {
            "route": name,
            "objective_ms": config and config.objective_ms,
            "target": config and config.target,
            "deadline_ms": config and config.deadline_ms,
            "lanes": lanes,
            "streams": streams(name),
            "outlook": outlooks(self._parts, name),
            "now": self._route_in("now", name, lanes),
            "window": self._route_in("window", name, lanes),
            "steps": self._route_steps(name),
        }

    def lanes(self) -> list[dict[str, Any]]:
        """Each lane: what waits in it and what nodes make of it. All processes see the same lane and hear the same
        reports, so the one that has seen most is right."""
        return [self._lane(name, saying) for name, saying in _by("lane", (part["lanes"] for part in self._parts))]

    def nodes(self) -> list[dict[str, Any]]:
        """Each node: who it is, whether it is well, and what its forecasts were worth in the window."""
        return [self._node(name, saying) for name, saying in _by("name", (part["nodes"] for part in self._parts))]

    def callers(self) -> list[dict[str, Any]]:
        """Each caller: its quotas, and what it uses of them at all processes together; who was refused what."""
        return [_caller(saying) for _, saying in _by("caller", (part["callers"] for part in self._parts))]

    def _route_steps(self, name: str) -> dict[str, list[Any]]:
        """Written to be quick: who opens the page asks for some hundred steps of each route."""
        columns: dict[str, list[Any]] = {"requests": [], "met": [], "p50_ms": [], "p95_ms": [], "p99_ms": []}
        for number in self.steps:
            requests = met = 0
            durations = [0] * BUCKETS
            for steps in self._steps:
                said = steps[number]["routes"].get(name) if number in steps else None
                if said is not None:
                    requests, met = requests + said[0], met + said[1]
                    add_durations(said[2], to=durations)
            for column, value in zip(columns.values(), (requests, met, *_quantiles_ms(durations)), strict=True):
                column.append(value)
        return columns

    def _route_in(self, span: str, name: str, lanes: Sequence[str]) -> dict[str, Any]:
        counts = [_route(part[span]["routes"], name) for part in self._parts]
        count = _added(counts) or NOTHING
        seconds = max(part[span]["seconds"] for part in self._parts)
        answered = sum(count.durations)
        p50_ms, p95_ms, p99_ms = _quantiles_ms(count.durations)
        return {
            "seconds": seconds,
            "requests": count.requests,
            "met": count.met,
            "attainment": round(count.met / count.requests, 6) if count.requests else None,
            "rate_per_s": round(count.requests / seconds, 2) if seconds else 0.0,
            "p50_ms": p50_ms,
            "p95_ms": p95_ms,
            "p99_ms": p99_ms,
            "stages_ms": {
                stage: round(spent_us / answered / 1e3, 4) if answered else None
                for stage, spent_us in zip(STAGES, count.stage_us, strict=True)
            },
            "blamed": dict(zip(STAGES, count.blamed, strict=True)),
            "decisions": told(self._decisions[span].get(name, {}), lanes=lanes, met=count.met),
        }

    def _lane(self, name: str, saying: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        now = LaneCount(*(_most(part["now"]["lanes"].get(name, (0, 0, 0)) for part in self._parts)))
        window = LaneCount(*(_most(part["window"]["lanes"].get(name, (0, 0, 0)) for part in self._parts)))
        steps = [
            _most(steps[number]["lanes"].get(name, (0, 0, 0)) for steps in self._steps if number in steps)
            for number in self.steps
        ]
        return {
            "lane": name,
            "depth": max(one["depth"] for one in saying),
            "backlog_ms": max(one["backlog_ms"] for one in saying),
            "modes": sorted({one["mode"] for one in saying}),
            "unit": next((one["unit"] for one in saying if one["unit"]), ""),
            "nodes": sorted({node for one in saying for node in one["nodes"]}),
            "now": _batches(now),
            "window": _batches(window),
            "steps": {
                "depth": [depth for depth, _, _ in steps],
                "batch_jobs": [round(jobs / batches, 2) if batches else None for _, jobs, batches in steps],
            },
        }

    def _node(self, name: str, saying: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        first = next((one for one in saying if one["state"] == "linked"), saying[0])
        states = sorted((one["state"] for one in saying), key=_HEALTH.index)
        forecasts = _added(
            NodeCount(*part["window"]["nodes"][name]) if name in part["window"]["nodes"] else None
            for part in self._parts
        )
        jobs = forecasts.jobs if forecasts else 0
        return {
            **first,
            "state": states[0],
            "states": states,
            "inflight": sum(one["inflight"] for one in saying),
            "backlog": max(one["backlog"] for one in saying),
            "forecasts": {
                "jobs": jobs,
                "predicted_ms": round(forecasts.predicted_us / jobs / 1e3, 3) if forecasts and jobs else None,
                "actual_ms": round(forecasts.actual_us / jobs / 1e3, 3) if forecasts and jobs else None,
            },
        }


def _by(key: str, lists: Iterable[Iterable[Mapping[str, Any]]]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """What several processes say of each thing, by its name, in the first one's order."""
    saying: dict[str, list[Mapping[str, Any]]] = {}
    for said in lists:
        for one in said:
            saying.setdefault(one[key], []).append(one)
    return list(saying.items())


def _caller(saying: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    refused: Counter[str] = Counter()
    for one in saying:
        refused.update(one["refused"])
    return {
        **saying[0],
        "rate_per_s": round(sum(one["rate_per_s"] for one in saying), 1),
        "quotas": {
            quota: {
                "used": round(sum(one["quotas"].get(quota, {"used": 0})["used"] for one in saying), 1),
                "limit": told["limit"],
            }
            for quota, told in saying[0]["quotas"].items()
        },
        "refused": dict(refused),
    }


def _route(routes: Mapping[str, list[Any]], name: str) -> RouteCount | None:
    return route_count(routes[name]) if name in routes else None


def _added(counts: Iterable[_Count | None]) -> _Count | None:
    total: _Count | None = None
    for count in counts:
        if count is not None:
            total = count if total is None else total.plus(count)
    return total


def _most(counts: Iterable[Sequence[int]]) -> tuple[int, ...]:
    return tuple(map(max, zip(*counts, strict=True))) or (0, 0, 0)


def _batches(count: LaneCount) -> dict[str, Any]:
    batches = count.batches
    return {
        "jobs": count.jobs,
        "batches": batches,
        "batch_jobs": round(count.jobs / batches, 2) if batches else None,
        "batch_units": round(count.units / batches, 1) if batches else None,
    }


def _quantiles_ms(durations: Sequence[int]) -> tuple[float | None, ...]:
    """The 50th, 95th and 99th percentile, estimated from the buckets; None where nothing ended."""
    if not any(durations):
        return (None, None, None)
    histogram = Histogram(DURATION_BUCKETS_S)
    histogram.counts = list(durations)
    return tuple(round((histogram.quantile(q) or 0.0) * 1e3, 3) for q in (0.5, 0.95, 0.99))
