"""The registry: who is there, kept by Redis and by its twin in memory alike."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator

import pytest
from redis import Redis

from isochrone.broker import Broker
from isochrone.config import RedisConfig
from isochrone.embedded import private_folder
from isochrone.keys import RECORD_TTL_MS, Keys
from isochrone.memory_broker import MemoryBroker
from isochrone.redis_broker import RedisBroker
from isochrone.redis_registry import RedisRegistry
from isochrone.registry import Census, NodeRecord, Registry, RegistryUnavailable, RouterRecord
from isochrone.resp import RedisAddress

KEYS = Keys("unit")
ROUTER = RouterRecord(boot=2**63 - 1, name="router-0", uses=("toy@cpu",))
NODE = NodeRecord(boot=7, name="toy-0", address="127.0.0.1:5000", device="cpu", lanes=("a@cpu", "b@cpu"), claims=())


@pytest.fixture
async def registry(broker: Broker) -> AsyncIterator[Registry]:
    registry = broker.registry()
    yield registry
    await registry.close()


async def test_a_beat_announces_and_tells_who_is_there(registry: Registry) -> None:
    """Itself among them, each with what it wrote."""
    assert await registry.read() == Census()
    assert await registry.beat(ROUTER) == Census((ROUTER,), ())
    assert await registry.beat(NODE) == Census((ROUTER,), (NODE,))
    assert await registry.read() == Census((ROUTER,), (NODE,))


async def test_the_latest_beat_counts(registry: Registry) -> None:
    """A node that claims from fewer lanes says so."""
    await registry.beat(NODE)
    changed = NODE.model_copy(update={"claims": ("a@cpu",)})
    assert (await registry.beat(changed)).nodes == (changed,)


async def test_boots_are_told_apart(registry: Registry) -> None:
    """A restarted process is another one, whatever its name; a router and a node may even have the same boot id."""
    again = NODE.model_copy(update={"boot": 8})
    await registry.beat(NODE)
    await registry.beat(RouterRecord(boot=7, name="router", uses=()))
    census = await registry.beat(again)
    assert {node.boot for node in census.nodes} == {7, 8}
    assert [router.boot for router in census.routers] == [7]


async def test_who_leaves_is_gone_at_once(registry: Registry) -> None:
    """Leaving twice is no error, and a beat brings one back."""
    await registry.beat(NODE)
    await registry.beat(ROUTER)
    await registry.leave(NODE)
    await registry.leave(NODE)
    assert await registry.read() == Census((ROUTER,), ())
    assert (await registry.beat(NODE)).nodes == (NODE,)


async def test_whoever_stops_beating_disappears(redis: Redis, redis_address: RedisAddress) -> None:
    """Redis expires the record, and the next reader forgets the name as well."""
    registry = RedisRegistry(redis_address, KEYS)
    await registry.beat(NODE)
    assert 0 < redis.pttl(KEYS.record("node", NODE.boot)) <= RECORD_TTL_MS
    redis.pexpire(KEYS.record("node", NODE.boot), 1)
    await asyncio.sleep(0.01)
    assert await registry.read() == Census()
    assert redis.smembers(KEYS.index("node")) == set()
    await registry.close()


async def test_in_memory_whoever_stops_beating_disappears_too() -> None:
    """By the clock that the mesh in memory runs on."""
    now_s = 1000.0
    registry = MemoryBroker(clock=lambda: now_s).registry()
    await registry.beat(NODE)
    now_s += RECORD_TTL_MS / 1e3 - 0.1
    assert (await registry.read()).nodes == (NODE,)
    now_s += 0.2
    assert (await registry.read()).nodes == ()


async def test_records_of_another_version_are_passed_over(redis: Redis, redis_address: RedisAddress) -> None:
    """What a newer one has besides is ignored; one that lacks what we need is as if not there."""
    registry = RedisRegistry(redis_address, KEYS)
    newer = NODE.model_dump() | {"boot": 8, "colour": "green"}
    for boot, text in (
        (7, "{}"),
        (8, NODE.model_validate(newer).model_dump_json()[:-1] + ', "colour": "green"}'),
        (9, "not JSON"),
        (10, '{"boot": "ten"}'),
    ):
        redis.set(KEYS.record("node", boot), text, px=60_000)
        redis.sadd(KEYS.index("node"), f"{boot:016x}")
    redis.pexpire(KEYS.index("node"), 60_000)
    assert [node.boot for node in (await registry.read()).nodes] == [8]
    await registry.close()


async def test_every_record_and_index_has_a_time_to_live(redis: Redis, redis_address: RedisAddress) -> None:
    """What a mesh leaves in Redis when it is switched off is gone a minute later."""
    registry = RedisBroker(redis_address, KEYS).registry()
    await registry.beat(NODE)
    await registry.beat(ROUTER)
    keys = redis.keys("*")
    assert len(keys) == 4
    assert all(0 < redis.pttl(key) <= 60_000 for key in keys)
    await registry.close()


async def test_a_registry_that_is_away_says_so() -> None:
    """Whichever way it is asked; it is no reason to stop serving."""
    gone = RedisRegistry(RedisAddress.of(RedisConfig(url="unix:///nowhere/redis.sock")), KEYS)
    broker = MemoryBroker(clock=lambda: 1000.0)
    broker.lose()
    for registry in (gone, broker.registry()):
        for ask in (lambda r: r.beat(NODE), lambda r: r.read(), lambda r: r.leave(NODE)):
            with pytest.raises(RegistryUnavailable):
                await ask(registry)
        await registry.close()


async def test_a_silent_redis_is_not_waited_for_for_long() -> None:
    """One that takes the connection and never answers counts as away after a second or so."""
    folder = private_folder()
    held: list[asyncio.StreamWriter] = []

    async def hold(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    server = await asyncio.start_unix_server(hold, folder / "mute.sock")
    registry = RedisRegistry(RedisAddress.of(RedisConfig(url=f"unix://{folder}/mute.sock")), KEYS)
    async with asyncio.timeout(5):
        with pytest.raises(RegistryUnavailable):
            await registry.beat(NODE)
    await registry.close()
    for writer in held:
        writer.close()
    server.close()
    shutil.rmtree(folder)
