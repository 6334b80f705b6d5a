"""Pieces of the cases that measure what budgets do and cost."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from bench.cases import CASES, machinery, planning
from bench.cases.bursty import GRID, highest
from bench.cores import Cores
from bench.reporting import REPORT_S, Reporting
from bench.runner import Runner
from bench.servers import changed, mesh
from bench.timer_node import InOrder

from isochrone.batching import ClosedBy, Limits
from isochrone.client import Client
from isochrone.config import load_config
from isochrone.keys import Tier
from isochrone.latency import Latency
from isochrone.testing.models import SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone.v1 import link_pb2
from isochrone_router.lane_view import LaneView


def test_there_is_a_case_for_each_promise() -> None:
    """By these names."""
    assert {"overload", "bursty", "pool", "slownode", "machinery", "planning"} <= CASES.keys()


@pytest.mark.parametrize("limit", [0.05, 0.1, 0.3, 0.77, 1.0])
async def test_the_highest_rate_is_found_by_bisection(limit: float) -> None:
    """To a few percent, from below; nothing where not even the least will do."""
    tried: list[float] = []

    async def is_enough(load: float) -> bool:
        tried.append(load)
        return load <= limit

    found = await highest(is_enough, least=0.1, most=1.0, steps=7)
    assert len(tried) == 7
    if limit < 0.1:
        assert found == 0
    else:
        assert limit / 1.03 <= found <= limit or limit == 0.1


def test_nodes_report_in_turn() -> None:
    """Each every REPORT_S, and is busy from then on; a lane's forecast is of all of them."""
    views = [LaneView("a@cpu"), LaneView("b@cpu")]
    nodes = Reporting(views, nodes=4, base_us=1000, per_unit_us=100, most=16)
    assert [len(view.forecast.nodes) for view in views] == [4, 4]
    assert views[0].forecast.base_s == pytest.approx(0.001)
    nodes.until(100.0, busy_s=0.5)
    nodes.until(100.0 + REPORT_S, busy_s=0.5)
    assert [node.free_at_s > 100 for node in views[1].nodes] == [True] * 4


@pytest.mark.parametrize("case", ["machinery", "planning"])
async def test_what_budgets_cost_is_measured(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each target has a figure, of some requests at least; how high it is, no test knows."""
    monkeypatch.setattr(machinery, "REQUESTS", 300)
    monkeypatch.setattr(planning, "REQUESTS", 300)
    said: list[str] = []
    runner = Runner(rounds=1, seconds=1, warmup_s=0, cores=Cores.of_this_process(), folder=tmp_path, say=said.append)
    result = await CASES[case](runner)
    assert result.verdicts
    assert said


class _Job:
    units = 1
    deadline_s = 1e9
    tier = Tier.STANDARD

    def __init__(self, objective_s: float) -> None:
        self.objective_s = objective_s


def test_batches_of_peers_are_in_the_order_of_arrival() -> None:
    """Up to their size, whatever is due; nobody is dropped."""
    policy = InOrder(Limits(units=64, jobs=64), size=2)
    late, later, last = _Job(1.0), _Job(2.0), _Job(3.0)
    closing = policy.close([last, late, later], now_s=50.0, latency=Latency(base_s=1.0, per_unit_s=1.0))
    assert closing.run == [late, later]
    assert closing.keep == [last]
    assert closing.drop == []
    assert closing.closed_by is ClosedBy.FULL


async def test_batches_of_peers_close_by_size_or_timer(tmp_path: Path) -> None:
    """Three at once are a batch of their own; one waits for the end of its window."""
    path = changed("bursty-timer", tmp_path, {"toy": {"size": 3, "window_ms": 400.0, "sleep_ms": 1, "unit_ms": 0}})
    group = load_config(path).nodes["toy"]
    assert group.options["size"] == 3
    assert len(GRID) == len(set(GRID))
    body = toy_pb2.ToyMessage(body=b"x").SerializeToString()
    cores = dict.fromkeys(("redis", "router", "node"), Cores.of_this_process().all)
    async with mesh(path, cores) as serving, Client(serving.target, sessions=1) as client:
        alone = await client.call(SLEEP, body, timeout_s=120)
        together = await asyncio.gather(*(client.call(SLEEP, body, timeout_s=120) for _ in range(12)))
    assert alone.budget is not None
    assert alone.budget.total_ms >= 350
    assert alone.budget.batch_jobs == 1
    budgets = [answer.budget for answer in together if answer.budget is not None]
    assert len(budgets) == 12
    assert max(budget.batch_jobs for budget in budgets) == 3


def test_a_node_is_heard_of_each_lane_in_whatever_order_it_tells() -> None:
    """Its lanes have their places in its reports, which may change from one to the next."""
    views = [LaneView("a@cpu"), LaneView("b@cpu")]
    Reporting(views, nodes=1, base_us=1000, per_unit_us=100, most=16)
    node = views[0].nodes[0]
    states = {state.lane: state for state in node.link.report.lanes}
    states["a@cpu"].latency.base_us, states["b@cpu"].latency.base_us = 5000, 7000
    for order in (("b@cpu", "a@cpu"), ("a@cpu", "b@cpu"), ("b@cpu",)):
        told = [states[lane] for lane in order]
        node.link.report = link_pb2.NodeState(claiming=["a@cpu", "b@cpu"], lanes=told)
        node.renew()
        assert node.base_s == pytest.approx(0.005 if "a@cpu" in order else 0.001)
