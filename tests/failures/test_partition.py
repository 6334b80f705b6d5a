"""Several routers and nodes share lanes, also while one router can't reach one of the nodes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conftest import StartMesh
from harness import Load, Mesh, Proxy, RedisServer, Status, goes_over_links, goes_through_redis, until
from isochrone.embedded import private_folder

pytestmark = pytest.mark.processes


@pytest.fixture
async def proxies() -> AsyncIterator[list[Proxy]]:
    """One in front of each of two nodes, at the addresses that `behind` has them advertise."""
    folder = private_folder()
    pair = [Proxy(f"unix:{folder}/proxy{end}", f"unix:{folder}/node{end}") for end in ("", ".1")]
    for proxy in pair:
        await proxy.start()
    yield pair
    for proxy in pair:
        await proxy.close()
    shutil.rmtree(folder, ignore_errors=True)


def _behind(proxy: Proxy) -> dict[str, str]:
    folder = Path(proxy._listen).parent
    return {"listen": f"unix:{folder}/node", "advertise": f"unix:{folder}/proxy"}


def _node(status: Status, name: str) -> Status:
    return next((node for node in status["nodes"] if node["name"] == name), {"state": "unknown"})


async def _jobs_put(redis: RedisServer) -> int:
    """How many times jobs were put into lanes, pushed or put back, since the statistics were reset."""
    stats = await redis.say("INFO", "COMMANDSTATS")
    return int(stats.get("cmdstat_zadd", {"calls": 0})["calls"])


async def _yielded(redis: RedisServer, *, router: str, node: str) -> None:
    """Waits until a router says in the registry that it uses no lane, and the node that it claims from them all."""

    async def records() -> Status:
        async with redis.look() as look:
            found = await look.mget([key for key in await look.keys() if b":router:" in key or b":node:" in key])
        return {record["name"]: record for record in map(json.loads, filter(None, found))}

    def so(them: Status) -> bool:
        return {router, node} <= them.keys() and not them[router]["uses"] and len(them[node]["claims"]) == 3

    await until(records, so)


def _ran_by(running: Mesh, load: Load, since_s: float) -> set[int]:
    """Processes that ran requests of a load since then."""
    bodies = {sent.body for sent in load.sent}
    return {
        forward.pid
        for forward in running.journal.forwards()
        if forward.began_s > since_s and bodies & set(forward.bodies)
    }


async def test_two_routers_and_two_nodes_share_the_lanes(mesh: StartMesh, redis: RedisServer) -> None:
    """Both nodes work for both routers, in the same batches, and nobody gets another's answer."""
    running = await mesh(redis=redis)
    other = await running.add_router("router-b")
    for router in running.routers:
        await running.until(goes_through_redis, router=router)
    began_s = time.monotonic()
    async with Load(running.client(), callers=8) as ours, Load(running.client(other), callers=8) as theirs:
        await ours.answers(300)
        await theirs.answers(300)
    assert ours.failures == theirs.failures == []
    nodes = {node.pid for node in running.nodes}
    assert _ran_by(running, ours, began_s) == _ran_by(running, theirs, began_s) == nodes
    our_bodies, their_bodies = ({sent.body for sent in load.sent} for load in (ours, theirs))
    mixed = [f for f in running.journal.forwards() if our_bodies & set(f.bodies) and their_bodies & set(f.bodies)]
    assert len(mixed) > 20
    await running.at_rest()


@pytest.mark.parametrize("how", ["cut", "frozen"])
async def test_a_router_that_cannot_reach_one_node(
    mesh: StartMesh, redis: RedisServer, proxies: list[Proxy], how: str
) -> None:
    """It yields the lane and addresses the node it reaches; the other router goes on with both; nothing circles."""
    running = await mesh(redis=redis, node=_behind(proxies[0]))
    other = await running.add_router("router-b")
    for router in running.routers:
        await running.until(goes_through_redis, router=router)
    cut_off, reached = running.nodes
    pid = running.router.pid
    assert pid is not None
    async with Load(running.client(), callers=4) as ours, Load(running.client(other), callers=4) as theirs:
        await ours.answers(100)
        await theirs.answers(100)
        proxies[0].cut(pid) if how == "cut" else proxies[0].freeze(pid)
        await running.until(lambda status: _node(status, cut_off.name)["state"] != "linked")
        await running.until(goes_over_links)
        await ours.answers(100)
        await _yielded(redis, router="router", node=cut_off.name)
        assert goes_through_redis(await running.status(other))
        assert goes_over_links(await running.status())
        await redis.say("CONFIG", "RESETSTAT")
        settled_s, before = time.monotonic(), len(theirs.sent)
        await ours.answers(100)
        await theirs.answers(200)
        assert await _jobs_put(redis) <= len(theirs.sent) - before + 20
        assert _ran_by(running, ours, settled_s) == {reached.pid}
        assert _ran_by(running, theirs, settled_s) == {cut_off.pid, reached.pid}
        proxies[0].heal()
        await running.until(lambda status: _node(status, cut_off.name)["state"] == "linked")
        await running.until(goes_through_redis)
        await ours.answers(100)
    assert ours.failures == theirs.failures == []
    await running.at_rest()


async def test_a_router_that_never_reached_one_node(mesh: StartMesh, redis: RedisServer, proxies: list[Proxy]) -> None:
    """A router that comes new and finds one node out of reach harms nobody: the others keep their lane."""
    running = await mesh(redis=redis, node=_behind(proxies[0]))
    await running.until(goes_through_redis)
    async with Load(running.client(), callers=4) as ours:
        await ours.answers(100)
        proxies[0].allow_only(running.router.pid)
        newcomer = await running.add_router("router-b")
        async with Load(running.client(newcomer), callers=4) as theirs:
            await theirs.answers(300)
            assert goes_through_redis(await running.status())
            assert goes_over_links(await running.status(newcomer))
            await ours.answers(100)
            proxies[0].heal()
            await running.until(goes_through_redis, router=newcomer)
            await theirs.answers(100)
    assert ours.failures == theirs.failures == []
    await running.at_rest()


async def test_a_node_known_by_two_addresses(mesh: StartMesh, redis: RedisServer, proxies: list[Proxy]) -> None:
    """It is linked once, whichever address was first; when that way is cut, the other takes over."""
    direct = {"listen": _behind(proxies[0])["listen"]}
    by_alias = _behind(proxies[0])["advertise"]
    running = await mesh(redis=redis, nodes=1, node=direct, router={"nodes": [by_alias]})
    await running.until(goes_through_redis)

    def states(status: Status) -> dict[str, str]:
        return {node["address"]: node["state"] for node in status["nodes"]}

    pid = running.router.pid
    assert pid is not None
    async with Load(running.client(), callers=8) as load:
        await running.until(lambda status: sorted(states(status).values()) == ["linked", "spare"])
        await load.answers(100)
        assert running.log("toy-0").count("is linked") == 1, "the node isn't bothered with the other"
        for _ in range(2):  # cut the way by the alias, be it in use or not, and let it come back
            proxies[0].cut(pid)
            await running.until(lambda status: states(status)[direct["listen"]] == "linked")
            await load.answers(100)
            proxies[0].heal()
            await running.until(lambda status: sorted(states(status).values()) == ["linked", "spare"])
        await running.until(goes_through_redis)
        await load.answers(100)
    assert load.failures == []
    await running.at_rest()
