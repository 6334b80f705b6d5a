"""LocalMesh's accidents: nodes that die, drain or stop, Redis that goes, links that break, and routers in plenty."""

from __future__ import annotations

import asyncio

import pytest

from isochrone.errors import Unavailable
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, SLEEP, EchoModel, SleepModel
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from shout import NOTHING, ROUTE, ROUTES, Shout


@virtual_time
async def test_two_nodes_do_twice_the_work() -> None:
    """Whichever is free takes the next batch."""
    clock = virtual_clock()
    took = {}
    for nodes in (1, 2):
        model = SleepModel(sleep_ms=10, sleep=clock.advance)
        routes = {SLEEP: {"objective_ms": 900, "deadline_ms": 10_000}}
        async with LocalMesh([model], routes=routes, nodes=nodes) as mesh:
            began_s = clock()
            await asyncio.gather(*(mesh.call(SLEEP, b"") for _ in range(320)))
            took[nodes] = clock() - began_s
    assert took[1] / took[2] == pytest.approx(2, rel=0.1)


@virtual_time
async def test_a_node_is_killed_and_another_takes_over() -> None:
    """What it had is sent again at once; no caller notices more than the wait."""
    clock = virtual_clock()
    model = SleepModel(sleep_ms=10, sleep=clock.advance)
    async with LocalMesh([model], routes={SLEEP: {"objective_ms": 50, "deadline_ms": 100}}, nodes=2) as mesh:
        calls = [asyncio.create_task(mesh.call(SLEEP, b"")) for _ in range(32)]
        await asyncio.sleep(0.005)
        await mesh.kill_node(mesh.nodes[0])
        answers = await asyncio.gather(*calls)
        assert {answer.budget.node for answer in answers if answer.budget} == {"node-1"}
        assert max(answer.budget.attempts for answer in answers if answer.budget) == 2


@virtual_time
async def test_a_node_that_answers_no_more_is_not_waited_for() -> None:
    """Cut off with its links still standing, it is overdue a few milliseconds after its own prediction."""
    clock = virtual_clock()
    model = SleepModel(sleep_ms=10, sleep=clock.advance)
    async with LocalMesh([model], routes={SLEEP: {"objective_ms": 50, "deadline_ms": 100}}, nodes=2) as mesh:
        calls = [asyncio.create_task(mesh.call(SLEEP, b"")) for _ in range(16)]
        await asyncio.sleep(0.005)
        mesh.partition(mesh.nodes[0])
        answers = await asyncio.gather(*calls)
        assert all(answer.budget is not None and answer.budget.total_ms < 60 for answer in answers)
        mesh.heal(mesh.nodes[0])
        await asyncio.sleep(5)
        assert mesh.under_way == NOTHING
        assert (await mesh.call(SLEEP, b"")).budget is not None


@virtual_time
async def test_a_node_drains_and_no_request_fails() -> None:
    """It finishes what it has; what comes meanwhile goes to the other."""
    clock = virtual_clock()
    model = SleepModel(sleep_ms=10, sleep=clock.advance)
    async with LocalMesh([model], routes={SLEEP: {"objective_ms": 50, "deadline_ms": 500}}, nodes=2) as mesh:
        calls: list[asyncio.Task[object]] = []

        async def load() -> None:
            while True:
                calls.append(asyncio.create_task(mesh.call(SLEEP, b"")))
                await asyncio.sleep(0.002)

        loading = asyncio.create_task(load())
        await asyncio.sleep(0.1)
        await mesh.drain_node(mesh.nodes[0])
        await asyncio.sleep(0.1)
        loading.cancel()
        assert len(calls) > 90
        await asyncio.gather(*calls)


@virtual_time
async def test_redis_goes_and_no_request_fails() -> None:
    """What waited in the lanes goes over the links, and what comes later too, until it is back."""
    clock = virtual_clock()
    model = SleepModel(sleep_ms=10, sleep=clock.advance)
    async with LocalMesh([model], routes={SLEEP: {"objective_ms": 50, "deadline_ms": 500}}, nodes=2) as mesh:
        assert mesh.broker is not None
        waiting = [asyncio.create_task(mesh.call(SLEEP, b"")) for _ in range(50)]
        await asyncio.sleep(0.005)
        mesh.broker.lose()
        away = await asyncio.gather(*waiting, mesh.call(SLEEP, b""))
        assert away[-1].budget is not None
        assert away[-1].budget.report.direct
        mesh.broker.restore()
        await asyncio.sleep(5)
        await mesh.settled()
        back = await mesh.call(SLEEP, b"")
        assert back.budget is not None
        assert not back.budget.report.direct
        assert mesh.under_way == NOTHING


@virtual_time
async def test_a_mesh_without_lanes_goes_over_the_links() -> None:
    """As one does that is configured without Redis."""
    async with LocalMesh([Shout()], routes=ROUTES, nodes=2, lanes=False) as mesh:
        answers = await asyncio.gather(*(mesh.call(ROUTE, b"hello") for _ in range(10)))
        assert all(answer.budget is not None and answer.budget.report.direct for answer in answers)
        assert {answer.budget.node for answer in answers if answer.budget} == {"node-0", "node-1"}


@virtual_time
async def test_routers_share_the_lanes() -> None:
    """A batch may hold requests of several; each gets its own answers, and nobody another's."""
    model = Shout(virtual_clock())
    async with LocalMesh([model], routes=ROUTES, nodes=2, routers=2) as mesh:
        model.batches.clear()
        texts = [f"text {number}" for number in range(60)]
        calls = [mesh.call(ROUTE, text.encode(), router=number % 2) for number, text in enumerate(texts)]
        answers = await asyncio.gather(*calls)
        assert [answer.payload.decode() for answer in answers] == [text.upper() for text in texts]
        assert any(len({int(text[5:]) % 2 for text in batch}) == 2 for batch in model.batches)
        assert mesh.under_way == NOTHING


@virtual_time
async def test_half_a_partition_loses_no_request() -> None:
    """A router cut off from one node goes on with the other; that node goes on for who reaches it; nobody spins."""
    clock = virtual_clock()
    model = SleepModel(sleep_ms=5, sleep=clock.advance)
    routes = {SLEEP: {"objective_ms": 50, "deadline_ms": 300}}
    async with LocalMesh([model], routes=routes, nodes=2, routers=2) as mesh:
        assert mesh.broker is not None
        calls: list[asyncio.Task[object]] = []

        async def load() -> None:
            while True:
                for router in range(2):
                    calls.append(asyncio.create_task(mesh.call(SLEEP, b"", router=router)))
                await asyncio.sleep(0.005)

        loading = asyncio.create_task(load())
        await asyncio.sleep(0.2)
        mesh.partition(mesh.nodes[0], router=1)
        await asyncio.sleep(3)
        mesh.heal(mesh.nodes[0])
        await asyncio.sleep(2)
        loading.cancel()
        await asyncio.wait(calls)
        assert [call.exception() for call in calls if call.exception()] == []
        assert len(calls) > 2000
        assert mesh.under_way == NOTHING


@virtual_time
async def test_a_node_may_come_later() -> None:
    """Until then its route is not served, and the caller is told at once."""
    async with LocalMesh([], routes={ECHO: {"objective_ms": 5, "deadline_ms": 50, "lanes": ["echo@cpu"]}}) as mesh:
        with pytest.raises(Unavailable):
            await mesh.call(ECHO, b"hello")
        await mesh.add_node([EchoModel()])
        await mesh.settled()
        assert (await mesh.call(ECHO, b"hello")).payload == b"hello"


@virtual_time
async def test_a_process_that_is_stopped_loses_nothing_but_time() -> None:
    """Stopped for two seconds, as by SIGSTOP: everything in it is late at once, and then it goes on."""
    async with LocalMesh([Shout(virtual_clock())], routes=ROUTES, nodes=2) as mesh:
        mesh.clock.advance(2.0)
        await asyncio.sleep(3.0)
        await mesh.settled()
        assert (await mesh.call(ROUTE, b"still here")).payload == b"STILL HERE"
