"""What a lane has to offer now, for those who watch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from isochrone.config import RouteConfig
from isochrone.keys import Tier
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import SLEEP, SleepModel
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone_router.lane_view import LaneView
from isochrone_router.outlook import outlook
from isochrone_router.plans import Option

LANE = "a@cpu"
ROUTE = RouteConfig(objective_ms=100, deadline_ms=500, target=0.999, lanes=(LANE,))
NOW_S = 100.0


@dataclass
class Node:
    """One that takes 10 ms for up to 8 units."""

    base_s: float = 0.010
    per_unit_s: float = 0.0
    batch_units: int = 8
    weight: float = 1.0
    per_job_s: float = 0.010
    free_at_s: float = 0.0
    backlog_s: float = 0.0
    claims: bool = True

    def done_in_s(self, units: float, *, now_s: float) -> float:
        return max(self.backlog_s, self.free_at_s - now_s) + self.base_s + self.per_unit_s * units


def option(*nodes: Node) -> Option:
    view = LaneView(LANE, is_open=True)
    view.forecast.renew(nodes)
    return Option(view)


def test_an_idle_lane_offers_what_a_batch_takes() -> None:
    """Nothing waits, and all of its time is left."""
    seen = outlook(option(Node()), ROUTE, now_s=NOW_S)
    assert seen == (pytest.approx(0.010), pytest.approx(0.010), 0.0, pytest.approx(1.0))


def test_what_waits_goes_first_and_what_was_learnt_is_added() -> None:
    """Two full batches go first; answers have come 2 ms later than was foretold, give or take some."""
    one = option(Node())
    for _ in range(16):
        one.forecast.submitted(Tier.STANDARD, units=1, due_s=NOW_S, late=False, now_s=NOW_S)
    for number in range(200):
        one.correction.observe(foretold_s=0.0, took_s=0.001 if number % 2 else 0.003, now_s=NOW_S - 1 + number * 0.005)
    seen = outlook(one, ROUTE, now_s=NOW_S)
    assert seen is not None
    assert seen.wait_s == pytest.approx(0.020)
    assert seen.expected_s == pytest.approx(0.032, abs=0.0005)
    assert seen.within_s > seen.expected_s
    assert seen.spare is not None
    assert seen.spare == pytest.approx(1 - 16 / 0.25 / 800)


def test_without_nodes_there_is_none_and_text_has_no_spare_time() -> None:
    """An engine takes in what it has room for."""
    assert outlook(option(), ROUTE, now_s=NOW_S) is None
    seen = outlook(option(Node(batch_units=0)), ROUTE, now_s=NOW_S)
    assert seen is not None
    assert seen.spare is None


@virtual_time
async def test_a_router_says_where_requests_went_and_what_to_expect() -> None:
    """Its status: for each lane of a route, and of each lane."""
    routes = {SLEEP: {"objective_ms": 50, "deadline_ms": 100, "lanes": ["sleep@cpu"]}}
    async with LocalMesh([SleepModel(sleep_ms=2, sleep=virtual_clock().advance)], routes=routes) as mesh:
        for _ in range(5):
            await mesh.call(SLEEP, b"")
        told: dict[str, Any] = mesh.router._status.as_json()
    (route,), (lane,) = told["routes"], told["lanes"]
    (way,) = route["lanes"]
    assert (way["lane"], way["requests"], sum(way["why"].values())) == ("sleep@cpu", 5, 5)
    assert way["cost_per_1000"] == route["cost_per_1000"] > 0
    assert way["within_ms"] >= way["expected_ms"] >= 2
    assert 0 < way["spare"] <= 1
    assert route["refused"] == {}
    assert (lane["standing_back"], lane["wait_ms"]) == (0, 0.0)
    assert told["router"]["second_attempts"] == {
        **{"made": 0, "denied": 0, "hedges": 0, "hedges_won": 0, "hedges_denied": 0}
    }
