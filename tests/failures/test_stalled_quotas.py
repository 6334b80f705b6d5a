"""Quotas while Redis is there and says nothing: nobody waits for it, each router keeps to its share, and what was spent
meanwhile is settled when it speaks again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from conftest import StartMesh
from harness import PATIENT, Mesh, RedisServer, Status, until
from harness.callers import BODY, CALLERS, client_of, in_use, outcome, shares
from isochrone.child import Child
from isochrone.client import Client
from isochrone.testing.models import SLEEP

pytestmark = [pytest.mark.processes, pytest.mark.alone]

BURST = 20
SLOTS = 4
LEASE = 1
"""The most that is leased ahead of so low a rate."""


@pytest.fixture
async def pair(mesh: StartMesh, redis: RedisServer) -> AsyncIterator[Mesh]:
    """Two routers that know of each other, and settle with each other."""
    callers = CALLERS | {"few": CALLERS["few"] | {"concurrency": SLOTS}}
    slow = {"sleep_ms": 400, "batch_jobs": SLOTS, "max_units": 1}
    running = await mesh(redis=redis, nodes=1, route=PATIENT, instead={"callers": callers}, options=slow)
    await running.add_router("router-b")
    for router in running.routers:
        await running.until(lambda status: status["router"]["routers"] == 2 and shares(status), router=router)
    yield running
    await running.at_rest()


async def alone(running: Mesh, ask: Client, router: Child) -> list[str]:
    """What becomes of requests that are sent until a router has noticed that there is nobody to settle with."""
    outcomes = []
    while shares(await running.status(router)):
        outcomes.append(await outcome(ask))
    return outcomes


async def level(redis: RedisServer, caller: str) -> float:
    """What is left of a caller's bucket, by the last word of any router."""
    async with redis.look() as look:
        return float((await look.get(f"{{test}}:quota:{caller}") or f"{BURST} 0".encode()).split()[0])


async def test_a_rate_while_redis_is_silent(pair: Mesh, redis: RedisServer) -> None:
    """Every request has its answer or refusal before Redis says a word. Each router admits its half of what was left;
    when Redis is back all of that is owed, and there is no second burst to be had."""
    async with AsyncExitStack() as stack:
        slow = [await stack.enter_async_context(client_of(router, "slow")) for router in pair.routers]
        ample = [await stack.enter_async_context(client_of(router, "ample")) for router in pair.routers]
        redis.stop_short()
        for ask, router in zip(ample, pair.routers, strict=True):
            assert set(await alone(pair, ask, router)) <= {"OK"}
        for ask in slow:
            outcomes = await asyncio.gather(*(outcome(ask) for _ in range(BURST)))
            assert set(outcomes) == {"OK", "QUOTA"}
            assert BURST // 2 <= outcomes.count("OK") <= BURST // 2 + LEASE
        assert {await outcome(ask) for ask in ample} == {"OK"}
        redis.go_on()
        for router in pair.routers:
            await pair.until(shares, router=router)

        async def look() -> Status:
            return {"level": await level(redis, "slow")}

        # Debts are paid first: both routers have told of theirs when there is nothing left.
        await until(look, lambda seen: seen["level"] < 1)
        late = [await outcome(ask) for _ in range(BURST) for ask in slow]
        # The first to pay was told of what the other had not yet paid for, and goes by that once: its share, on credit.
        assert late.count("OK") <= 2 * LEASE + BURST // 2 // 2
        assert {await outcome(ask) for ask in ample} == {"OK"}
    for router in ("router", "router-b"):
        assert "each router keeps to its share (1 of 2)" in pair.log(router)


async def test_slots_while_redis_is_silent(pair: Mesh, redis: RedisServer) -> None:
    """Each router has its half of them under way and no more, for as long as it lasts; afterwards one may have all."""
    async with AsyncExitStack() as stack:
        few = [await stack.enter_async_context(client_of(router, "few")) for router in pair.routers]
        redis.stop_short()
        for ask, router in zip(few, pair.routers, strict=True):
            assert set(await alone(pair, ask, router)) <= {"OK", "QUOTA"}
        for _ in range(2):
            under_way = []
            for ask, router in zip(few, pair.routers, strict=True):
                under_way += [asyncio.create_task(ask.call(SLEEP, BODY)) for _ in range(SLOTS // 2)]
                await pair.until(lambda status: in_use(status, "few") == SLOTS // 2, router=router)
                assert await outcome(ask) == "QUOTA"
            assert len(await asyncio.gather(*under_way)) == SLOTS
        redis.go_on()
        for router in pair.routers:
            await pair.until(shares, router=router)

        async def all_at_once() -> Status:
            return {"ended": await asyncio.gather(*(outcome(few[0], SLEEP) for _ in range(SLOTS)))}

        await until(all_at_once, lambda seen: set(seen["ended"]) == {"OK"})
