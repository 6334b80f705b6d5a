"""A SIGTERM is no failure: who leaves takes nothing more, answers what it has, and is gone within its grace."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from conftest import StartMesh
from harness import Load, RedisServer, Status, goes_through_redis, replayed, send
from isochrone.child import Child
from isochrone.ports import a_free_one

pytestmark = pytest.mark.processes

GRACE_S = 5.0


async def _drained(child: Child) -> None:
    """Ends a process as an operator does, and checks that it leaves in order and in time."""
    child.stopping = True
    began_s = time.monotonic()
    child.send(signal.SIGTERM)
    async with asyncio.timeout(GRACE_S + 5):
        code = await child.wait()
    assert code == 0
    assert time.monotonic() - began_s < GRACE_S + 1


@pytest.mark.parametrize("through", ["lanes", "links"])
async def test_node_drained_under_load(mesh: StartMesh, redis: RedisServer, through: str) -> None:
    """The node answers what it has claimed or was given; the other takes the rest; then it comes back."""
    running = await mesh(redis=redis if through == "lanes" else None, node={"drain_s": GRACE_S})
    if through == "lanes":
        await running.until(goes_through_redis)
    leaving = running.nodes[0]
    async with Load(running.client(), callers=16) as load:
        await load.answers(200)
        await _drained(leaving)
        await load.answers(200)
        await running.stack.restart(leaving.name)
        await running.until(_all_linked)
        await load.answers(200)
    assert load.failures == []
    assert replayed(running.journal, load.sent) == []
    await running.at_rest()


async def test_node_drained_while_redis_is_silent(mesh: StartMesh, redis: RedisServer) -> None:
    """A Redis that says nothing keeps no node from leaving in time."""
    running = await mesh(redis=redis, node={"drain_s": GRACE_S})
    await running.until(goes_through_redis)
    async with Load(running.client()) as load:
        await load.answers(50)
        redis.stop_short()
        await load.answers(50)
        await _drained(running.nodes[0])
        await load.answers(50)
        redis.go_on()
    assert load.failures == []
    assert replayed(running.journal, load.sent) == []
    await running.at_rest()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
async def test_one_of_two_routers_on_a_port_ends_under_load(
    mesh: StartMesh, redis: RedisServer, number: signal.Signals
) -> None:
    """Told to leave it answers what it took; killed it can't; either way its callers go on at the other, unaware."""
    listen, admin = a_free_one(), a_free_one()
    router = {"processes": 2, "listen": listen, "admin": admin, "drain_s": GRACE_S}
    running = await mesh(redis=redis, router=router, nodes=1)
    await running.until(goes_through_redis)
    clients = [running.client() for _ in range(12)]  # the kernel spreads them over the two
    async with Load(*clients, callers=36) as load:
        await load.answers(200)
        leaving: int = (await running.status())["router"]["pid"]
        os.kill(leaving, number)
        await load.answers(200)
        await running.until(lambda status: status["router"]["pid"] != leaving)  # the crew has started another
        await load.answers(200)
    assert load.failures == []
    await running.at_rest()


async def test_router_drained_while_redis_is_silent(mesh: StartMesh, redis: RedisServer) -> None:
    """It leaves in time, too, and answers what it has."""
    running = await mesh(redis=redis, router={"drain_s": GRACE_S}, options={"sleep_ms": 50}, nodes=1)
    await running.until(goes_through_redis)
    client = running.client()
    await send(client)
    redis.stop_short()
    under_way = [asyncio.create_task(send(client)) for _ in range(16)]
    await running.until(lambda status: bool(status["router"]["inflight"] >= 8))
    await _drained(running.router)
    assert {sent.outcome for sent in await asyncio.gather(*under_way)} == {"answered"}


def _all_linked(status: Status) -> bool:
    return all(node["state"] == "linked" for node in status["nodes"])
