"""Redis dies, stalls, fills up or comes late, and no request fails for it: jobs go over the links meanwhile."""

from __future__ import annotations

import asyncio
import time

import pytest

from conftest import StartMesh
from harness import Load, RedisServer, goes_over_links, goes_through_redis, replayed

pytestmark = pytest.mark.processes


async def test_redis_killed_and_back_after_five_seconds(mesh: StartMesh, redis: RedisServer) -> None:
    """Every request is answered, before, while Redis is gone, and after; nothing of before is run again."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    async with Load(running.client()) as load:
        await load.answers(100)
        killed_s = time.monotonic()
        await redis.kill()
        await running.until(goes_over_links)
        await load.answers(100)
        await asyncio.sleep(killed_s + 5 - time.monotonic())
        await redis.start()
        await running.until(goes_through_redis)
        await load.answers(100)
    assert load.failures == []
    assert replayed(running.journal, load.sent) == []
    await running.at_rest()


@pytest.mark.parametrize("how", ["CLIENT PAUSE", "SIGSTOP"])
async def test_redis_silent_for_three_seconds(mesh: StartMesh, redis: RedisServer, how: str) -> None:
    """A Redis that takes connections and says nothing is left alone; what it still has in it is not run later."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    async with Load(running.client()) as load:
        await load.answers(100)
        if how == "CLIENT PAUSE":
            await redis.say("CLIENT", "PAUSE", 3000, "ALL")
        else:
            redis.stop_short()
        silent_s = time.monotonic()
        await running.until(goes_over_links)
        await load.answers(100)
        await asyncio.sleep(silent_s + 3 - time.monotonic())
        redis.go_on()
        await running.until(goes_through_redis)
        await load.answers(100)
    assert load.failures == []
    assert replayed(running.journal, load.sent) == []
    await running.at_rest()


async def test_redis_full(mesh: StartMesh, redis: RedisServer) -> None:
    """A Redis that refuses writes is as good as none, until it takes them again."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    async with Load(running.client()) as load:
        await load.answers(100)
        await redis.say("CONFIG", "SET", "maxmemory-policy", "noeviction")
        await redis.say("CONFIG", "SET", "maxmemory", 1)
        left = await running.until(goes_over_links)
        # It looks in again, is refused again, and has lost nothing by it.
        await running.until(lambda status: bool(status["redis"]["epoch"] >= left["redis"]["epoch"] + 1))
        await redis.say("CONFIG", "SET", "maxmemory", 0)
        await running.until(goes_through_redis)
        await load.answers(100)
    assert load.failures == []
    assert "OOM" in running.log("router")
    await running.at_rest()


async def test_redis_restarted_under_us_at_once(mesh: StartMesh, redis: RedisServer) -> None:
    """A restart too quick to notice costs nothing either: the jobs that were in it are sent again."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    async with Load(running.client()) as load:
        for _ in range(3):
            await load.answers(50)
            await redis.kill()
            await redis.start()
        await running.until(goes_through_redis)
        await load.answers(50)
    assert load.failures == []
    await running.at_rest()


async def test_no_redis_at_all(mesh: StartMesh) -> None:
    """With `url: none` everything goes over the links, and nobody minds."""
    running = await mesh(redis=None)
    async with Load(running.client()) as load:
        await load.answers(100)
    assert load.failures == []
    assert (await running.status())["redis"]["state"] == "none"
    assert all(sent.budget is not None and sent.budget.report.direct for sent in load.sent)
    await running.at_rest()


async def test_redis_that_comes_later(mesh: StartMesh, redis: RedisServer) -> None:
    """A mesh that starts before its Redis serves at once, and uses it when it is there."""
    await redis.kill()
    running = await mesh(redis=redis)
    async with Load(running.client()) as load:
        await load.answers(50)
        assert goes_over_links(await running.status())
        await redis.start()
        await running.until(goes_through_redis)
        await load.answers(50)
    assert load.failures == []
    await running.at_rest()
