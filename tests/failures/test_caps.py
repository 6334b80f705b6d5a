"""Caps are kept by refusing: RESOURCE_EXHAUSTED with a time to come back, and memory that does not grow."""

from __future__ import annotations

import asyncio
from collections import Counter

import psutil
import pytest

from conftest import StartMesh
from harness import ONE_BY_ONE, SLEEP_LANE, Load, Mesh, RedisServer, Sent, Status, goes_through_redis, send
from isochrone.errors import Overloaded

pytestmark = pytest.mark.processes

SLOW = {"sleep_ms": 100, "batch_jobs": 4, "max_units": 1}


def _refusals(sent: list[Sent]) -> Counter[str]:
    """Reasons of those that were refused, all of which say when to come back."""
    refused = [one.error for one in sent if one.outcome != "answered"]
    assert all(isinstance(error, Overloaded) and error.retry_after_s > 0 for error in refused), refused
    return Counter(error.reason for error in refused if isinstance(error, Overloaded))


async def _crowd(running: Mesh, requests: int, *, size: int = 0) -> list[Sent]:
    client = running.client()
    return list(await asyncio.gather(*(send(client, size=size) for _ in range(requests))))


async def test_lane_full(mesh: StartMesh, redis: RedisServer) -> None:
    """Past its cap a lane takes no more; once there is room it does, without anybody's help."""
    running = await mesh(redis=redis, nodes=1, router={"limits": {"lane_jobs": 10}}, options=SLOW)
    await running.until(goes_through_redis)
    for _ in range(2):
        sent = await _crowd(running, 100)
        assert set(_refusals(sent)) == {"QUEUE_FULL"}
        assert 10 <= sum(one.outcome == "answered" for one in sent) <= 60
        await running.at_rest()
    async with Load(running.client(), callers=4) as load:
        await load.answers(20)
    assert load.failures == []


async def test_lane_filled_by_another_router(mesh: StartMesh, redis: RedisServer) -> None:
    """The cap counts the jobs of all routers, and one that has none in the lane learns when it has emptied."""
    running = await mesh(
        redis=redis,
        nodes=1,
        route={"objective_ms": 10_000, "deadline_ms": 10_000},
        router={"limits": {"lane_jobs": 10}},
        options={"sleep_ms": 60} | ONE_BY_ONE,
    )
    other = await running.add_router("router-b")
    await running.until(goes_through_redis)
    await running.until(goes_through_redis, router=other)
    client = running.client(other)
    async with Load(running.client(), callers=20, pause_s=0.01), Load(client, callers=2, pause_s=0.05) as few:
        await few.until(lambda: "Overloaded" in few.outcomes)
    assert set(_refusals(few.sent)) == {"QUEUE_FULL"}
    await running.until(lambda status: _depth(status) == 0, router=other, within_s=5)
    assert (await send(client)).outcome == "answered"
    await running.at_rest()


def _depth(status: Status) -> int:
    return next(int(view["depth"]) for view in status["lanes"] if view["lane"] == SLEEP_LANE)


async def test_requests_under_way_capped(mesh: StartMesh) -> None:
    """A router process owns no more requests than it was told to."""
    route = {"objective_ms": 10_000, "deadline_ms": 10_000}
    running = await mesh(nodes=1, route=route, router={"limits": {"inflight": 20}}, options=SLOW)
    sent = await _crowd(running, 100)
    assert set(_refusals(sent)) == {"INFLIGHT_FULL"}
    assert 20 <= sum(one.outcome == "answered" for one in sent) <= 60
    await running.at_rest()


async def test_bytes_under_way_capped(mesh: StartMesh, redis: RedisServer) -> None:
    """Nor more bytes, and what it refused leaves nothing behind: another 200 MB make it no larger."""
    limits = {"inflight_bytes": 8_000_000, "request_bytes": 2_000_000}
    running = await mesh(redis=redis, nodes=1, router={"limits": limits}, options=SLOW)
    await running.until(goes_through_redis)
    await _crowd(running, 40, size=1_000_000)
    router = psutil.Process(running.router.pid)
    before = router.memory_info().rss
    refused: Counter[str] = Counter()
    answered = 0
    for _ in range(5):
        sent = await _crowd(running, 40, size=1_000_000)
        refused += _refusals(sent)
        answered += sum(one.outcome == "answered" for one in sent)
    assert set(refused) == {"BYTES_FULL"}
    assert answered >= 8
    assert router.memory_info().rss - before < 100_000_000
    await running.at_rest()
