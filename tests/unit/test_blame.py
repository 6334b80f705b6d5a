"""Blame: the stage that went furthest beyond what it usually takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.blame import Expectation
from isochrone.ledger import stages
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import SLEEP, SleepModel
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import budget_pb2
from isochrone_router.flight import Flight
from isochrone_router.planner import Plan

HOP_S = 0.0002
USUAL = (300, 400, 800, 6000, 200, 100)
STAGES = [budget_pb2.Stage.Name(stage) for stage in range(1, 7)]


def report(stage_us: Sequence[int], **more: int) -> budget_pb2.BudgetReport:
    return budget_pb2.BudgetReport(stage_us=stage_us, total_us=sum(stage_us), objective_us=15_000, **more)


def learnt(times: int = 200) -> Expectation:
    expectation = Expectation()
    for _ in range(times):
        expectation.learn(report(USUAL))
    return expectation


@pytest.mark.parametrize("stage", range(6))
@given(by_us=st.integers(2_000, 100_000))
def test_the_stage_that_was_delayed_is_blamed(stage: int, by_us: int) -> None:
    """However small its usual part is, and however large another's."""
    spent = list(USUAL)
    spent[stage] += by_us
    assert budget_pb2.Stage.Name(learnt().blame(report(spent))) == STAGES[stage]


def test_before_anything_is_known_the_longest_is_blamed() -> None:
    """The first request of a route may be late."""
    assert Expectation().blame(report(USUAL)) == budget_pb2.STAGE_COMPUTE


def test_a_lasting_change_is_learnt() -> None:
    """A compute that takes twice as long, and is in time, is soon what is expected."""
    expectation = learnt()
    slower = [*USUAL[:3], 12_000, *USUAL[4:]]
    for _ in range(400):
        expectation.learn(report(slower))
    spent = [*slower[:1], slower[1] + 3_000, *slower[2:]]
    assert expectation.blame(report(spent)) == budget_pb2.STAGE_QUEUE


def test_of_a_stream_only_what_came_before_the_first_chunk_counts() -> None:
    """Its objective is for that; a long text makes nobody guilty."""
    expectation = Expectation()
    for _ in range(100):
        expectation.learn(report([300, 400, 800, 500_000, 200, 100], first_us=10_000))
    late = report([300, 20_000, 800, 900_000, 200, 100], first_us=30_000)
    assert expectation.blame(late) == budget_pb2.STAGE_QUEUE
    slow = report([300, 400, 800, 900_000, 200, 100], first_us=40_000)
    assert expectation.blame(slow) == budget_pb2.STAGE_COMPUTE


def test_it_says_what_it_expects() -> None:
    """In a log, in the order of the stages."""
    assert repr(Expectation()) == "<Expectation of nothing yet µs>"
    assert repr(learnt(1)) == "<Expectation 300, 400, 800, 6000, 200, 100 µs>"


class Delayed:
    """A mesh of a sleeping model over links, in which each stage can be made to take longer."""

    def __init__(self) -> None:
        self.spent_s = {"admit": 0.001, "batch_wait": 0.001, "compute": 0.005, "answer": 0.001}
        model = SleepModel(sleep_ms=1, batch_jobs=1, sleep=lambda _: self._spend("compute"))
        sla = {"objective_ms": 12, "deadline_ms": 500}
        self.mesh = LocalMesh([model], routes={SLEEP: sla}, lanes=False, hop_s=HOP_S)
        router = self.mesh.router
        self._dispatch, self._finish = router.dispatcher.dispatch, router.dispatcher.finish
        router.dispatcher.dispatch = self._slowly_dispatch  # type: ignore[method-assign]
        router.dispatcher.finish = self._slowly_finish  # type: ignore[method-assign]

    async def start(self) -> None:
        """Once the mesh runs: learns what is usual."""
        (node,) = self.mesh.nodes
        run = node._device.run

        def slowly_run(*args: Any, **more: Any) -> Any:
            self._spend("batch_wait")
            return run(*args, **more)

        node._device.run = slowly_run  # type: ignore[method-assign]
        for _ in range(20):
            await self.budget()

    async def budget(self) -> budget_pb2.BudgetReport:
        answer = await self.mesh.call(SLEEP, b"")
        assert answer.budget is not None
        return answer.budget.report

    def _spend(self, stage: str) -> None:
        virtual_clock().advance(self.spent_s[stage])

    def _slowly_dispatch(self, flight: Flight, plan: Plan) -> None:
        self._spend("admit")
        self._dispatch(flight, plan)

    def _slowly_finish(self, flight: Flight) -> None:
        self._finish(flight)
        self._spend("answer")


@virtual_time
@pytest.mark.parametrize("by_ms", [11, 40])
@pytest.mark.parametrize("stage", ["admit", "queue", "batch_wait", "compute", "link", "answer"])
async def test_a_stage_that_is_delayed_on_purpose_grows_by_that_and_is_blamed(stage: str, by_ms: int) -> None:
    """In a whole mesh, by the report of the answer; and no other stage grows."""
    delayed = Delayed()
    async with delayed.mesh:
        await delayed.start()
        before = await delayed.budget()
        assert not before.missed
        assert not before.blame
        by_s = by_ms / 1e3
        if stage in delayed.spent_s:
            delayed.spent_s[stage] += by_s
            after = await delayed.budget()
        else:
            delayed.mesh.slow_links(
                to_nodes_s=HOP_S + by_s * (stage == "queue"), to_routers_s=HOP_S + by_s * (stage == "link")
            )
            after = await delayed.budget()
    grown = {name: us - dict(stages(before))[name] for name, us in stages(after)}
    assert after.missed
    assert budget_pb2.Stage.Name(after.blame) == f"STAGE_{stage.upper()}"
    assert grown.pop(stage) == pytest.approx(by_ms * 1000, abs=500)
    assert all(abs(us) <= 500 for us in grown.values()), grown
