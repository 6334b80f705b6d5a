"""Streams through the client, between real processes: over sessions, with routers, nodes and readers that leave."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil
import pytest

from conftest import StartMesh
from harness import Load, RedisServer, Status, send, until
from isochrone.client import Client, SyncClient
from isochrone.errors import DeadlineExceeded, Unavailable, UnknownVariant
from isochrone.testing.v1 import toy_pb2

pytestmark = pytest.mark.processes

REPEAT = "isochrone.testing.v1.Toy/Repeat"
MANY = 1_000_000


def ask(client: Any, *, units: int, body: bytes = b"again", **options: Any) -> Any:
    request = toy_pb2.ToyMessage(body=body, units=units).SerializeToString()
    return client.stream(REPEAT, request, **options)


async def read(stream: Any) -> int:
    """How many chunks are left."""
    return sum([1 async for _ in stream])


async def test_many_streams_of_one_client(mesh: StartMesh, redis: RedisServer) -> None:
    """Each has all of its chunks, and then its budget; calls beside them are answered. Over sessions or by itself."""
    running = await mesh(redis=redis, options={"slots": 8, "step_ms": 0.5})

    async def one(client: Client, number: int) -> None:
        stream = ask(client, units=200, body=b"%d" % number)
        chunks = [toy_pb2.ToyMessage.FromString(chunk).body async for chunk in stream]
        assert chunks == [b"%d" % number] * 200
        assert stream.budget is not None
        assert stream.budget.chunks == 200
        assert 0 < stream.budget.first_ms < stream.budget.total_ms

    for sessions in (2, 0):
        async with Client(running.router.address, sessions=sessions) as client:
            streaming = asyncio.gather(*(one(client, number) for number in range(16)))
            while not streaming.done():
                assert (await send(client)).outcome == "answered"
            await streaming
    await running.at_rest()


async def test_a_thread_streams(mesh: StartMesh) -> None:
    """By an ordinary iterator; one that is left ends in the mesh."""
    running = await mesh(nodes=1)

    def work() -> int:
        with SyncClient(running.router.address) as client:
            with ask(client, units=MANY) as left:
                next(left)
            return sum(1 for _ in ask(client, units=100))

    assert await asyncio.to_thread(work) == 100
    await running.at_rest()


async def test_a_reader_that_stops_keeps_memory_flat(mesh: StartMesh) -> None:
    """Its own and the router's; others on the session go on, and it goes on when it reads again."""
    running = await mesh(nodes=1, options={"slots": 4, "step_ms": 0})
    router, own = psutil.Process(running.router.pid), psutil.Process()
    async with Client(running.router.address, sessions=1, timeout_s=60) as client:
        body = b"x" * 2048
        stopped = ask(client, units=MANY, body=body)
        await anext(stopped)
        assert await read(ask(client, units=2_000, body=body)) == 2_000
        before = router.memory_info().rss, own.memory_info().rss
        assert await read(ask(client, units=20_000, body=body)) == 20_000
        for process, before_bytes in zip((router, own), before, strict=True):
            assert process.memory_info().rss - before_bytes < 10 * 2**20
        for _ in range(1_000):
            await anext(stopped)
        await stopped.aclose()
    await running.at_rest()


async def test_streams_that_are_left_at_any_point_leave_nothing_behind(mesh: StartMesh, redis: RedisServer) -> None:
    """In the router and on the nodes."""
    running = await mesh(redis=redis, options={"slots": 4, "step_ms": 0.2})
    client = running.client()

    async def leave(after: int) -> None:
        async with ask(client, units=MANY) as stream:
            for _ in range(after):
                await anext(stream)

    async with asyncio.timeout(60):
        await asyncio.gather(*(leave(number % 50) for number in range(100)))
        waiting = [asyncio.create_task(leave(MANY)) for _ in range(10)]
        await asyncio.sleep(0.2)
        for task in waiting:
            task.cancel()
    await running.at_rest()


async def test_a_router_that_is_killed_ends_its_streams(mesh: StartMesh) -> None:
    """With CONNECTION_LOST, after what had arrived; the next goes to the other router."""
    running = await mesh(nodes=1)
    other = await running.add_router("other")
    async with Client([running.router.address], sessions=1) as client, Client(other.address) as beside:
        stream = ask(client, units=MANY)
        await anext(stream)
        running.router.stopping = True
        running.router.kill()
        with pytest.raises(Unavailable) as caught:
            await read(stream)
        assert caught.value.reason == "CONNECTION_LOST"
        assert await read(ask(beside, units=10)) == 10


async def test_a_router_that_is_killed_under_a_client_that_knows_another(mesh: StartMesh, redis: RedisServer) -> None:
    """Calls go on there and none fails. Its streams end typed, at once; those of the other router go on, and so do new
    ones."""
    running = await mesh(redis=redis, options={"slots": 16, "step_ms": 2})
    other = await running.add_router("other")
    client = Client([running.router.address, other.address], sessions=1)
    running.clients.append(client)
    async with Load(client, callers=8) as load:
        await load.answers(50)
        await running.until(lambda status: status["router"]["sessions"] >= 1, router=other)
        await running.until(lambda status: status["router"]["sessions"] >= 1)
        streams = [ask(client, units=1_500) for _ in range(8)]
        for stream in streams:
            await anext(stream)
        reading = [asyncio.create_task(read(stream)) for stream in streams]
        running.router.stopping = True
        running.router.kill()
        ended, going_on = await asyncio.wait(reading, timeout=2, return_when=asyncio.FIRST_EXCEPTION)
        assert ended
        assert going_on
        ends = await asyncio.gather(*reading, return_exceptions=True)
        lost = [end for end in ends if isinstance(end, Unavailable) and end.reason == "CONNECTION_LOST"]
        assert 0 < len(lost) < len(ends)
        assert [end for end in ends if end not in lost] == [1_499] * (len(ends) - len(lost))
        assert await read(ask(client, units=20)) == 20
        await load.answers(200)
    assert load.failures == []


async def test_a_router_that_drains_finishes_its_streams(mesh: StartMesh) -> None:
    """While the client's next requests go to the other."""
    running = await mesh(options={"step_ms": 1})
    other = await running.add_router("other")
    client = Client([running.router.address, other.address], sessions=1)
    running.clients.append(client)
    streams = [ask(client, units=1_000) for _ in range(4)]
    for stream in streams:
        await anext(stream)
    reading = [asyncio.create_task(read(stream)) for stream in streams]
    await running.router.stop(20)
    assert await asyncio.gather(*reading) == [999] * 4

    async def sessions() -> Status:
        return await running.status(other)

    assert (await send(client)).outcome == "answered"
    await until(sessions, lambda status: status["router"]["sessions"] >= 1, within_s=10)


async def test_a_deadline_and_a_refusal_are_typed(mesh: StartMesh) -> None:
    """As those of a call."""
    running = await mesh(nodes=1)
    client = running.client()
    stream = ask(client, units=MANY, timeout_s=0.5)
    with pytest.raises(DeadlineExceeded) as caught:
        await read(stream)
    assert caught.value.budget is not None
    assert caught.value.budget.chunks > 0
    with pytest.raises(UnknownVariant):
        await read(ask(client, units=1, variant="repeat.int8"))
    await running.at_rest()
