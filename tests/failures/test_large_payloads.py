"""A large request waits at its router, and only a ticket in the lane: whoever claims it fetches it over the link."""

from __future__ import annotations

import asyncio
import signal

import pytest

from conftest import StartMesh
from harness import Load, RedisServer, goes_through_redis, send

pytestmark = pytest.mark.processes


async def _bytes_in(redis: RedisServer) -> int:
    return int((await redis.say("INFO", "STATS"))["total_net_input_bytes"])


async def test_large_requests_pass_by_redis(mesh: StartMesh, redis: RedisServer) -> None:
    """Every byte comes back, and Redis has seen next to none of them."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    for size in (100_000, 1_000_000):
        before = await _bytes_in(redis)
        async with Load(running.client(), callers=8, size=size) as load:
            await load.answers(60)
        assert load.failures == []
        assert await _bytes_in(redis) - before < 0.1 * size * len(load.sent)
    await running.at_rest()


async def test_a_node_dies_while_it_fetches(mesh: StartMesh, redis: RedisServer) -> None:
    """What it had claimed goes to the other node, with its bytes."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    lost = running.nodes[0]
    async with Load(running.client(), callers=8, size=1_000_000) as load:
        await load.answers(20)
        running.stack.kill(lost.name, signal.SIGKILL)
        await load.answers(40)
    assert load.failures == []
    await running.at_rest()


async def test_deadlines_pass_while_payloads_are_fetched(mesh: StartMesh, redis: RedisServer) -> None:
    """A caller in a hurry is told in time, leaves nothing behind, and those with time are answered."""
    running = await mesh(redis=redis, nodes=1, options={"sleep_ms": 20})
    await running.until(goes_through_redis)
    client = running.client()
    hurried = [asyncio.create_task(send(client, size=1_000_000, timeout_s=0.02)) for _ in range(20)]
    patient = [asyncio.create_task(send(client, size=100_000)) for _ in range(8)]
    assert {sent.outcome for sent in await asyncio.gather(*patient)} == {"answered"}
    assert {sent.outcome for sent in await asyncio.gather(*hurried)} <= {"answered", "DeadlineExceeded"}
    await running.at_rest()
    assert (await send(client)).outcome == "answered"
