"""What the fast tests share: how hypothesis runs, and one Redis for all of them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from redis import Redis

from isochrone.broker import Broker
from isochrone.config import RedisConfig
from isochrone.deadline import monotonic
from isochrone.embedded import EmbeddedRedis
from isochrone.keys import Keys
from isochrone.memory_broker import MemoryBroker
from isochrone.redis_broker import RedisBroker
from isochrone.resp import RedisAddress

sys.path.append(str(Path(__file__).parent))  # for `fakes`

# No deadline: the machine has others to serve. In CI always the same examples; EXAMPLES=5000 looks harder.
settings.register_profile(
    "unit", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=int(os.environ.get("EXAMPLES", "100"))
)
settings.load_profile("unit")


@pytest.fixture(scope="session")
def redis_process() -> Iterator[EmbeddedRedis]:
    """A real Redis on a private Unix socket, on a loop of its own: no test's loop lives as long."""
    redis = EmbeddedRedis()
    with asyncio.Runner() as runner:
        runner.run(redis.start())
        yield redis
        runner.run(redis.stop())


@pytest.fixture
def redis(redis_process: EmbeddedRedis) -> Iterator[Redis]:
    """That Redis, empty; a test leaves no key in it that lives for ever."""
    client = Redis(unix_socket_path=str(redis_process.socket), decode_responses=True)
    client.flushall()
    yield client
    keys = client.keys("*")
    assert [key for key in keys if client.ttl(key) == -1] == []
    client.close()


@pytest.fixture
def redis_address(redis: Redis, redis_process: EmbeddedRedis) -> RedisAddress:
    return RedisAddress.of(RedisConfig(url=redis_process.url))


@pytest.fixture(params=["memory", "redis"])
def broker(request: pytest.FixtureRequest) -> Broker:
    """Both brokers: what holds for one holds for the other."""
    if request.param == "memory":
        return MemoryBroker(clock=monotonic)
    return RedisBroker(request.getfixturevalue("redis_address"), Keys("unit"))
