"""Fallbacks in a mesh of processes: a node is killed, the cache is killed, and callers have an answer all the same."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conftest import StartMesh
from harness import ONE_BY_ONE, Mesh, RedisServer, Status, goes_through_redis
from isochrone.client import Client, Leg, Outcome
from isochrone.errors import Unavailable
from isochrone.testing.models import ECHO, SLEEP
from isochrone.testing.v1 import toy_pb2

pytestmark = pytest.mark.processes

SLA: dict[str, Any] = {"objective_ms": 500, "deadline_ms": 2000}
STATIC: dict[str, Any] = {"static": {"message": {"body": "cG9wdWxhcg=="}}}
LAST_GOOD: dict[str, Any] = {"last_good": {"ttl_s": 300}}
POPULAR = toy_pb2.ToyMessage(body=b"popular").SerializeToString()


def toy(body: bytes) -> bytes:
    return toy_pb2.ToyMessage(body=body).SerializeToString()


def routes(*fallback: dict[str, Any]) -> dict[str, Any]:
    return {
        ECHO: SLA | {"lanes": ["echo@cpu"]},
        SLEEP: SLA | {"lanes": ["sleep@cpu"], "fallback": list(fallback)},
    }


def nobody_there(status: Status) -> bool:
    return not any(node["state"] == "linked" for node in status["nodes"])


async def lose_node(running: Mesh) -> None:
    running.stack.kill(running.nodes[0].name, signal.SIGKILL)
    for router in running.routers:
        await running.until(nobody_there, router=router)


@pytest.fixture
async def cache(logs: Path) -> AsyncIterator[RedisServer]:
    """A Redis for answers, running. Every key that is in it at the end has a time to live."""
    server = RedisServer(logs=logs)
    await server.start()
    yield server
    leaked = await server.keys_for_ever() if server.child.running else []
    await server.close()
    assert leaked == []


async def test_a_node_is_killed_and_the_last_good_answer_stands_in(
    mesh: StartMesh, redis: RedisServer, cache: RedisServer
) -> None:
    """With its age: from the router that gave it, and from one that never has. Another request has none."""
    running = await mesh(
        redis=redis, nodes=1, instead={"routes": routes(LAST_GOOD), "cache": {"url": cache.url, "stall_ms": 1000}}
    )
    await running.until(goes_through_redis)
    other = await running.add_router("other")
    own = await running.client().call(SLEEP, toy(b"mine"))
    assert own.budget is not None
    assert own.budget.fallback is None
    while not await cache.say("DBSIZE"):
        await asyncio.sleep(0.01)
    await lose_node(running)
    for router in running.routers:
        answer = await running.client(router).call(SLEEP, toy(b"mine"))
        assert answer.payload == own.payload
        assert answer.budget is not None
        assert answer.budget.fallback is not None
        assert (answer.budget.fallback.source, answer.budget.fallback.reason) == ("last_good", "NO_NODE")
        assert 0 < answer.budget.fallback.age_s < 60
        with pytest.raises(Unavailable):
            await running.client(router).call(SLEEP, toy(b"yours"))
    async with aiohttp.ClientSession() as http:
        async with http.get(f"http://{other.admin}/metrics") as got:
            text = await got.text()
        counted = f'isochrone_fallbacks_total{{route="{SLEEP}",source="last_good",reason="NO_NODE"}} 1'
        assert counted in text
        async with http.get(f"http://{other.admin}/misses") as got:
            misses = (await got.json())["misses"]
        async with http.get(f"http://{other.admin}/readyz") as got:
            assert got.status == 200
    [told] = [miss for miss in misses if miss["verdict"] == "fallback"]
    assert (told["fallback"]["source"], told["code"], told["reason"]) == ("last_good", "OK", "NO_NODE")
    await running.at_rest()


async def test_a_request_under_way_is_stood_in_for_as_well(mesh: StartMesh, redis: RedisServer) -> None:
    """Its node dies with it."""
    running = await mesh(
        redis=redis, nodes=1, instead={"routes": routes(STATIC)}, options={"sleep_ms": 300} | ONE_BY_ONE
    )
    await running.until(goes_through_redis)
    under_way = asyncio.create_task(running.client().call(SLEEP, toy(b"mine")))
    await running.until(lambda status: bool(status["nodes"][0]["inflight"]))
    running.stack.kill(running.nodes[0].name, signal.SIGKILL)
    answer = await under_way
    assert answer.payload == POPULAR
    assert answer.budget is not None
    assert answer.budget.fallback is not None
    assert (answer.budget.fallback.source, answer.budget.fallback.reason) == ("static", "NODE_LOST")
    await running.at_rest()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_the_cache_is_lost_and_the_static_answer_stands_in(
    mesh: StartMesh, redis: RedisServer, cache: RedisServer, how: signal.Signals
) -> None:
    """Without it a router knows what it has answered itself; and while nodes answer, nobody notices."""
    running = await mesh(
        redis=redis, nodes=1, instead={"routes": routes(LAST_GOOD, STATIC), "cache": {"url": cache.url}}
    )
    await running.until(goes_through_redis)
    client = running.client()
    own = await client.call(SLEEP, toy(b"mine"))
    if how is signal.SIGKILL:
        await cache.kill()
    else:
        cache.stop_short()
    for number in range(20):
        answer = await client.call(SLEEP, toy(b"%d" % number))
        assert answer.budget is not None
        assert answer.budget.fallback is None
    await lose_node(running)
    for body, expected, source in ((b"mine", own.payload, "last_good"), (b"unknown", POPULAR, "static")):
        answer = await client.call(SLEEP, toy(body))
        assert answer.payload == expected
        assert answer.budget is not None
        assert answer.budget.fallback is not None
        assert answer.budget.fallback.source == source
    if how is signal.SIGSTOP:
        cache.go_on()
    await running.at_rest()


async def test_a_page_whose_leg_is_stood_in_for_is_whole(mesh: StartMesh) -> None:
    """Though the leg is required; a leg without any misses where it is optional, and fails the page where it isn't."""
    running = await mesh(nodes=1, instead={"routes": routes(STATIC)})
    await lose_node(running)
    for sessions in (0, 1):
        async with Client(running.router.address, sessions=sessions) as client:
            page = await client.fan_out(
                {"needed": Leg(SLEEP, toy(b"mine"), required=True), "optional": Leg(ECHO, toy(b""))}
            )
            needed = page["needed"]
            assert (needed.outcome, needed.payload, needed.error) == (Outcome.FALLBACK, POPULAR, None)
            assert needed.budget is not None
            assert needed.budget.fallback is not None
            assert page["optional"].outcome is Outcome.MISSED
            with pytest.raises(Unavailable, match="leg 'needed'"):
                await client.fan_out({"needed": Leg(ECHO, b"", required=True), "fine": Leg(SLEEP, toy(b""))})
    await running.at_rest()


async def test_a_stack_starts_a_cache_of_its_own(mesh: StartMesh) -> None:
    """Where a route wants it: beside the lanes' Redis, which it takes no memory from, and gone with the stack."""
    running = await mesh(nodes=1, instead={"routes": routes(LAST_GOOD)})
    assert [child.name for child in running.stack.children] == ["cache", "toy-0", "router"]
    cache = running.stack.cache
    assert cache is not None
    client = running.client()
    await client.call(SLEEP, toy(b"mine"))
    await running.stack.restart("router", grace_s=10)
    await lose_node(running)
    answer = await running.client().call(SLEEP, toy(b"mine"))
    assert answer.budget is not None
    assert answer.budget.fallback is not None
    assert answer.budget.fallback.source == "last_good"
