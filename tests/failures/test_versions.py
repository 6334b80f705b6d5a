"""Routers and nodes of different versions understand each other or say clearly that they don't."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.rpc import status_pb2

from conftest import StartMesh
from harness import KEYS, MESH, SLEEP_LANE, RedisServer, Status, goes_through_redis, send
from isochrone.deadline import monotonic
from isochrone.errors import Unavailable
from isochrone.link.stream import EOF, LinkServer, NodeEnd, RouterEnd, dial
from isochrone.status import from_status
from isochrone.testing.models import SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone.v1 import link_pb2

pytestmark = pytest.mark.processes

BOOT = 4711


@asynccontextmanager
async def _dialled(address: str, hello: link_pb2.Hello) -> AsyncIterator[RouterEnd]:
    """A link as a router of our own making opens it, after its Hello."""
    async with dial(address) as stream:
        await stream.write(link_pb2.RouterFrames(hello=hello))
        yield stream


def _hello(**changes: Any) -> link_pb2.Hello:
    now_us = int(monotonic() * 1e6)
    spoken = {"version_min": 1, "version_max": 1, "router": BOOT, "name": "handmade", "epoch": 1, "mesh": MESH}
    return link_pb2.Hello(**(spoken | {"router_us": now_us} | changes))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"version_min": 2, "version_max": 3}, "the router speaks link versions 2 to 3, this end 1 to 1"),
    ({"version_min": 0, "version_max": 0}, "the router speaks link versions 0 to 0, this end 1 to 1"),
    ({"mesh": "another"}, "this node is of mesh 'test', not 'another'"),
]


async def test_a_node_welcomes_the_routers_that_it_understands_and_no_others(mesh: StartMesh) -> None:
    """A refusal says why and nothing else; a newer router that still speaks our version is welcome with that one."""
    running = await mesh(nodes=1)
    address = running.nodes[0].address
    for changes, told in REFUSED:
        async with _dialled(address, _hello(**changes)) as call:
            welcome = (await call.read()).welcome
            assert told in welcome.refusal
            assert not welcome.variants
            assert await call.read() is EOF
        assert told in running.log("toy-0")
    async with _dialled(address, _hello(version_min=1, version_max=9)) as call:
        welcome = (await call.read()).welcome
        assert (welcome.refusal, welcome.version) == ("", 1)
        assert [variant.lane for variant in welcome.variants] == ["echo@cpu", SLEEP_LANE, "repeat@cpu"]
    assert (await send(running.client())).outcome == "answered"


@asynccontextmanager
async def _node_that_says(welcome: link_pb2.Welcome) -> AsyncIterator[str]:
    """A node of our own making; gives its address."""

    async def open_link(stream: NodeEnd) -> None:
        await stream.read()
        await stream.write(link_pb2.NodeFrames(welcome=welcome))

    server = LinkServer(open_link)
    yield await server.start("127.0.0.1:0")
    await server.close()


async def test_a_router_refuses_nodes_that_it_does_not_understand(mesh: StartMesh) -> None:
    """It shows them as refused, says why once, and serves with the nodes that it understands."""
    newer = link_pb2.Welcome(version=7, node=1, name="future")
    unfriendly = link_pb2.Welcome(refusal="go away, please")
    async with _node_that_says(newer) as first, _node_that_says(unfriendly) as second:
        running = await mesh(nodes=1, router={"nodes": [first, second]})

        def refused(status: Status) -> bool:
            return {node["address"] for node in status["nodes"] if node["state"] == "refused"} == {first, second}

        await running.until(refused)
        assert {(await send(running.client())).outcome for _ in range(10)} == {"answered"}
        await asyncio.sleep(0.3)  # time for some more attempts
        for told in ("the node speaks link versions 7 to 7, this end 1 to 1", "go away, please"):
            assert running.log("router").count(told) == 1


async def test_envelopes_of_another_version_are_refused_and_not_guessed_at(mesh: StartMesh, redis: RedisServer) -> None:
    """A job in the lane that this node can't read is answered with an error; the lane goes on."""
    running = await mesh(redis=redis, nodes=1)
    await running.until(goes_through_redis)
    body = toy_pb2.ToyMessage(body=b"from the future").SerializeToString()
    later_us = int((monotonic() + 5) * 1e6)
    async with _dialled(running.nodes[0].address, _hello()) as call:
        assert not (await call.read()).welcome.refusal
        await call.write(link_pb2.RouterFrames(epoch=1))  # a router's second message; now the link counts
        job = link_pb2.Job(
            version=2, router=BOOT, id=1, epoch=1, attempt=1, route=SLEEP, lane=SLEEP_LANE, payload=body,
            objective_us=later_us, deadline_us=later_us,
        )  # fmt: skip
        async with redis.look() as lanes:
            key = KEYS.lane(SLEEP_LANE)
            await lanes.zadd(key, {job.SerializeToString(): time.time(), b"\xff not even protobuf": time.time()})
            await lanes.pexpire(key, 10_000)
        async with asyncio.timeout(5):
            while not (batches := (await call.read()).batches):
                pass
    [reply] = batches[0].replies
    assert reply.job == 1
    error = from_status(status_pb2.Status.FromString(reply.status))
    assert isinstance(error, Unavailable)
    assert str(error) == "this node reads envelope version 1, not 2: upgrade the older"
    assert str(error) in running.log("toy-0")
    assert (await send(running.client())).outcome == "answered"
    assert not any(b"from the future" in forward.bodies for forward in running.journal.forwards())
    await running.at_rest()
