"""A node that becomes slow among others that don't: requests stay in time, and it comes back when it is quick again."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from isochrone.node.node import Node
from isochrone.testing.mesh import LocalMesh, UnderWay
from isochrone.testing.models import SLEEP, SleepModel
from isochrone.testing.virtual_time import virtual_clock, virtual_time


@dataclass(slots=True)
class Pacing:
    """How many times as long one node takes as it did."""

    times: float = 1.0
    examples: int = 0

    def model(self) -> SleepModel:
        clock = virtual_clock()
        return SleepModel(
            sleep_ms=4, unit_ms=0.2, max_units=64, batch_jobs=16, sleep=lambda s: clock.advance(s * self.times)
        )


@dataclass(slots=True)
class Answered:
    came_s: float
    took_s: float
    node: str
    attempts: int


@dataclass(slots=True)
class Load:
    """Requests at random moments, and what became of them."""

    mesh: LocalMesh
    per_s: float
    answers: list[Answered] = field(default_factory=list)
    calls: set[asyncio.Task[None]] = field(default_factory=set)

    async def lasts(self, seconds: float) -> list[Answered]:
        """Goes on for so long. Gives the answers to what was asked in that time."""
        clock, dice = self.mesh.clock, random.Random(7)
        began_s = clock()
        while clock() < began_s + seconds:
            self.calls.add(asyncio.create_task(self._ask()))
            await asyncio.sleep(dice.expovariate(self.per_s))
        await asyncio.gather(*self.calls)
        self.calls.clear()
        return [answer for answer in self.answers if answer.came_s >= began_s]

    async def _ask(self) -> None:
        clock = self.mesh.clock
        came_s = clock()
        budget = (await self.mesh.call(SLEEP, b"")).budget
        assert budget is not None
        self.answers.append(Answered(came_s, clock() - came_s, budget.node, budget.attempts))


def p99_s(answers: list[Answered]) -> float:
    return sorted(answer.took_s for answer in answers)[int(0.99 * len(answers))]


def by(node: Node, answers: list[Answered]) -> int:
    return sum(answer.node == node.name for answer in answers)


def stands_back(node: Node) -> bool:
    [state] = node.node_state().lanes
    assert state.stands_back == (state.lane not in node.node_state().claiming)
    return state.stands_back


@asynccontextmanager
async def three(*paces: Pacing, objective_ms: float = 50) -> AsyncIterator[tuple[LocalMesh, Pacing]]:
    """A mesh of three nodes, and the pace of the first."""
    paces = paces or (Pacing(), Pacing(), Pacing())
    route = {"objective_ms": objective_ms, "deadline_ms": 500, "lanes": ["sleep@cpu"]}
    async with LocalMesh([], routes={SLEEP: route}, nodes=0, hop_s=0.0002) as mesh:
        for pacing in paces:
            await mesh.add_node([pacing.model()])
        await mesh.settled()
        await asyncio.sleep(2)
        yield mesh, paces[0]


@virtual_time
async def test_a_node_that_is_slowed_tenfold_is_noticed_by_nobody_for_long() -> None:
    """Within two seconds the slowest answers are as they were, at no more than one request in twenty sent twice; and
    once it is quick again it does its part as before."""
    async with three() as (mesh, pacing):
        slow, load = mesh.nodes[0], Load(mesh, per_s=250)
        before = await load.lasts(3)
        assert by(slow, before) > 0.25 * len(before)
        pacing.times = 10
        noticing = await load.lasts(2)
        assert stands_back(slow)
        after = await load.lasts(3)
        assert p99_s(after) <= 1.5 * p99_s(before)
        slowed = noticing + after
        assert sum(answer.attempts > 1 for answer in slowed) <= 0.05 * len(slowed)
        assert mesh.router.dispatcher.second_attempts.made <= 0.05 * len(slowed)
        pacing.times = 1
        await asyncio.sleep(2)
        assert not stands_back(slow)
        again = await load.lasts(3)
        assert by(slow, again) > 0.25 * len(again)
        assert p99_s(again) <= 1.5 * p99_s(before)
        assert mesh.under_way == UnderWay(0, 0, 0)


@virtual_time
async def test_one_hiccup_is_no_pace() -> None:
    """A batch that took ten times as long, and even two of five, keep nobody from claiming."""
    async with three() as (mesh, pacing):
        load = Load(mesh, per_s=100)
        await load.lasts(1)
        for _ in range(3):
            pacing.times = 10
            while mesh.nodes[0].node_state().busy_us == 0:
                load.calls.add(asyncio.create_task(load._ask()))
                await asyncio.sleep(0.001)
            pacing.times = 1
            await load.lasts(0.5)
            assert not stands_back(mesh.nodes[0])


@virtual_time
async def test_where_all_become_slow_all_go_on() -> None:
    """There is nobody to leave the lane to; whoever was quicker to find out comes back."""
    paces = [Pacing(), Pacing(), Pacing()]
    async with three(*paces) as (mesh, _):
        load = Load(mesh, per_s=50)
        await load.lasts(1)
        for pacing in paces:
            pacing.times = 5
        await load.lasts(4)
        assert [stands_back(node) for node in mesh.nodes] == [False, False, False]
        after = await load.lasts(2)
        assert all(by(node, after) > 0.2 * len(after) for node in mesh.nodes)


@virtual_time
async def test_where_the_quick_ones_die_the_slow_one_claims_again() -> None:
    """As soon as their records are gone; until then it runs what is addressed to it."""
    async with three() as (mesh, pacing):
        slow, load = mesh.nodes[0], Load(mesh, per_s=50)
        pacing.times = 4
        await load.lasts(2)
        assert stands_back(slow)
        for node in mesh.nodes[1:]:
            await mesh.kill_node(node)
        answers = await load.lasts(5)
        assert by(slow, answers) == len(answers)
        assert not stands_back(slow)


@virtual_time
async def test_what_it_had_staged_goes_to_others_at_no_cost(caplog: pytest.LogCaptureFixture) -> None:
    """Given back by the node, not waited for by the routers: no second attempt is made of it."""
    async with three(objective_ms=25) as (mesh, pacing):
        slow, load = mesh.nodes[0], Load(mesh, per_s=700)
        await load.lasts(1)
        attempts = mesh.router.dispatcher.second_attempts.made
        pacing.times = 4
        with caplog.at_level("WARNING", "isochrone.node.bystander"):
            answers = await load.lasts(1)
        assert stands_back(slow)
        [given_back] = [int(words.rsplit(" ", 2)[1]) for words in caplog.messages if "gave back" in words]
        assert given_back > 0
        assert mesh.router.dispatcher.second_attempts.made == attempts + sum(answer.attempts > 1 for answer in answers)
        assert mesh.under_way == UnderWay(0, 0, 0)


@virtual_time
async def test_a_node_that_stands_back_drains_like_any_other() -> None:
    """No example is run any more, and nobody waits for one."""
    async with three() as (mesh, pacing):
        slow, load = mesh.nodes[0], Load(mesh, per_s=100)
        pacing.times = 10
        await load.lasts(2)
        assert stands_back(slow)
        began_s = mesh.clock()
        await mesh.drain_node(slow)
        assert mesh.clock() - began_s < 0.5
        assert len(await load.lasts(1)) > 80


@virtual_time
async def test_examples_are_run_for_nobody() -> None:
    """About once a second while it stands back and is idle; they count as no jobs, and none is run by others."""
    async with three() as (mesh, pacing):
        slow, quick = mesh.nodes[:2]
        pacing.times = 10
        await Load(mesh, per_s=100).lasts(2)
        before = [node.node_state().lanes[0] for node in mesh.nodes]
        ran = [node._models[0].forwards for node in mesh.nodes]  # type: ignore[union-attr]
        await asyncio.sleep(10)
        assert stands_back(slow)
        rehearsed = [node._models[0].forwards - count for node, count in zip(mesh.nodes, ran, strict=True)]  # type: ignore[union-attr]
        assert 9 <= rehearsed[0] <= 12
        assert rehearsed[1:] == [0, 0]
        after = [node.node_state().lanes[0] for node in mesh.nodes]
        assert [(lane.jobs, lane.batches) for lane in after] == [(lane.jobs, lane.batches) for lane in before]
        assert not stands_back(quick)
