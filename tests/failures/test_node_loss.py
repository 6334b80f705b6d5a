"""A node dies or freezes: another answers for it within deadlines of 100 ms, or callers hear that there is none."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter

import pytest

from conftest import StartMesh
from harness import ONE_BY_ONE, Load, RedisServer, Starvation, Status, goes_through_redis, replayed, send
from isochrone.errors import Unavailable

pytestmark = pytest.mark.processes

SLA = {"objective_ms": 50, "deadline_ms": 100}


def _all_linked(status: Status) -> bool:
    return all(node["state"] == "linked" for node in status["nodes"])


@pytest.mark.alone
@pytest.mark.parametrize("through", ["lanes", "links"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_node_lost_under_load(mesh: StartMesh, redis: RedisServer, number: signal.Signals, through: str) -> None:
    """At least 99.9 % are answered; the rest fail in time with an error that says so, and nobody hangs."""
    running = await mesh(redis=redis if through == "lanes" else None, route=SLA, options={"sleep_ms": 10})
    if through == "lanes":
        await running.until(goes_through_redis)
    lost = running.nodes[0]
    async with Starvation(running) as starvation, Load(running.client(), callers=16) as load:
        await load.answers(300)
        running.stack.kill(lost.name, number)
        await load.answers(1200)
        if number is signal.SIGSTOP:
            running.stack.kill(lost.name, signal.SIGCONT)
            await running.until(_all_linked)
            await load.answers(500)
    fair = starvation.fair(load.sent)
    failed = Counter(sent.outcome for sent in fair if sent.outcome != "answered")
    assert failed.total() <= 0.001 * len(fair), failed
    assert load.answered >= 0.7 * len(load.sent), load.outcomes
    # One node has a moment in which it is too slow for two nodes' work, where the machine stalls besides.
    assert set(load.outcomes) <= {"answered", "Unavailable", "DeadlineExceeded", "Overloaded"}
    assert replayed(running.journal, load.sent, after_s=0.2) == []
    await running.at_rest()


async def test_node_killed_and_back(mesh: StartMesh, redis: RedisServer) -> None:
    """A node that was killed comes back at its address and takes its part again."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    lost = running.nodes[0]
    async with Load(running.client()) as load:
        await load.answers(50)
        running.stack.kill(lost.name, signal.SIGKILL)
        await load.answers(50)
        await running.stack.restart(lost.name)
        await running.until(_all_linked)
        await running.until(goes_through_redis)
        await load.answers(100)
    assert load.failures == []
    assert any(forward.pid == lost.pid for forward in running.journal.forwards())
    await running.at_rest()


async def test_the_only_node_freezes_for_a_moment(mesh: StartMesh, redis: RedisServer) -> None:
    """Silent for longer than a node should be, it is still the only one: callers with time get their answers."""
    running = await mesh(redis=redis, nodes=1, route={"objective_ms": 500, "deadline_ms": 8000})
    await running.until(goes_through_redis)
    only = running.nodes[0].name
    async with Load(running.client(), callers=4) as load:
        await load.answers(50)
        running.stack.kill(only, signal.SIGSTOP)
        await running.until(lambda status: bool(status["nodes"][0]["state"] == "silent"))
        waiting = [asyncio.create_task(send(running.client())) for _ in range(4)]
        await running.until(lambda status: bool(status["router"]["inflight"] == 8))
        running.stack.kill(only, signal.SIGCONT)
        await load.answers(50)
        assert {sent.outcome for sent in await asyncio.gather(*waiting)} == {"answered"}
    assert load.failures == []
    await running.at_rest()


async def test_the_only_node_is_gone(mesh: StartMesh, redis: RedisServer) -> None:
    """Then there is nothing to wait for: UNAVAILABLE at once, and it may be tried again."""
    running = await mesh(redis=redis, nodes=1, options={"sleep_ms": 60} | ONE_BY_ONE)
    await running.until(goes_through_redis)
    client = running.client()
    under_way = asyncio.create_task(send(client))
    await running.until(lambda status: bool(status["nodes"][0]["inflight"]))
    running.stack.kill(running.nodes[0].name, signal.SIGKILL)
    lost, late = await under_way, await send(client)
    for sent in (lost, late):
        assert isinstance(sent.error, Unavailable)
        assert sent.error.may_retry
        assert sent.took_s < 1.5
    await running.stack.restart(running.nodes[0].name)
    await running.until(_all_linked)
    assert (await send(client)).outcome == "answered"
    await running.at_rest()
