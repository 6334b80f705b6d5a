"""Answers that stream, between real processes: slow readers, callers and nodes that vanish, many at a time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import psutil
import pytest
from google.rpc import status_pb2

from conftest import StartMesh
from harness import Mesh, RedisServer, goes_through_redis
from isochrone.errors import DeadlineExceeded, IsochroneError
from isochrone.rpc import BUDGET_METADATA, STATUS_METADATA
from isochrone.status import from_status
from isochrone.testing.models import REPEAT
from isochrone.testing.v1 import toy_pb2
from isochrone.v1 import budget_pb2

pytestmark = pytest.mark.processes

MANY = 1_000_000


class Stream:
    """A stream of Repeat's chunks, by a call of its own."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def chunks(self, count: int) -> list[bytes]:
        return [toy_pb2.ToyMessage.FromString(await self._call.read()).body for _ in range(count)]

    async def rest(self) -> int:
        """Reads to its end; how many chunks there were. Raises the mesh's own error where there is one."""
        count = 0
        try:
            while await self._call.read() is not grpc.aio.EOF:
                count += 1
        except grpc.aio.AioRpcError:
            pass
        if await self._call.code() is grpc.StatusCode.OK:
            return count
        raise await self.error()

    async def code(self) -> grpc.StatusCode:
        return await self._call.code()

    async def trailers(self) -> dict[str, Any]:
        return dict(await self._call.trailing_metadata())

    async def budget(self) -> budget_pb2.BudgetReport:
        return budget_pb2.BudgetReport.FromString((await self.trailers())[BUDGET_METADATA])

    async def error(self) -> IsochroneError:
        return from_status(status_pb2.Status.FromString((await self.trailers())[STATUS_METADATA]))

    def leave(self) -> None:
        self._call.cancel()


@asynccontextmanager
async def streams(target: str) -> AsyncIterator[Any]:
    """Opens streams on one channel: `stream(units=5)`."""
    async with grpc.aio.insecure_channel(target) as channel:
        method = channel.unary_stream(f"/{REPEAT}", None, None)

        def stream(*, units: int, body: bytes = b"again", timeout_s: float | None = None) -> Stream:
            request = toy_pb2.ToyMessage(body=body, units=units).SerializeToString()
            return Stream(method(request, timeout=timeout_s))

        yield stream


def streams_from(running: Mesh) -> Any:
    return streams(running.router.address)


@pytest.mark.parametrize("through", ["lanes", "links"])
async def test_many_streams_side_by_side(mesh: StartMesh, redis: RedisServer, through: str) -> None:
    """More than there are places for, on two nodes: each gets all of its own chunks, in the end."""
    running = await mesh(redis=redis if through == "lanes" else None, options={"slots": 4, "step_ms": 0.2})
    if through == "lanes":
        await running.until(lambda status: goes_through_redis(status, "repeat@cpu"))
    async with streams_from(running) as stream:

        async def one(number: int) -> None:
            mine = stream(units=100, body=b"%d" % number)
            assert await mine.chunks(100) == [b"%d" % number] * 100
            assert await mine.rest() == 0
            assert (await mine.budget()).chunks == 100

        await asyncio.gather(*(one(number) for number in range(24)))
    await running.at_rest()


async def test_a_reader_that_stops_keeps_memory_flat(mesh: StartMesh) -> None:
    """Nothing is made for it past what is on its way; the router has no more of it, and others go on."""
    running = await mesh(nodes=1, options={"slots": 4, "step_ms": 0})
    router = psutil.Process(running.router.pid)
    async with streams_from(running) as stream:
        body = b"x" * 2048
        stopped = stream(units=MANY, body=body)
        await stopped.chunks(10)
        beside = stream(units=20_000, body=body)
        await beside.chunks(2_000)  # by now all that can pile up has
        before_bytes = router.memory_info().rss
        await beside.chunks(18_000)
        assert await beside.rest() == 0
        assert router.memory_info().rss - before_bytes < 8 * 2**20
        made = sum(len(forward.bodies) for forward in running.journal.forwards())
        assert made <= 4
        await stopped.chunks(1000)  # and this one goes on when it reads again
        stopped.leave()
    await running.at_rest()


async def test_a_caller_who_vanishes_ends_it_on_the_node(mesh: StartMesh) -> None:
    """Hanging up, or all at once with its connection; the places are free for others."""
    running = await mesh(nodes=1, options={"slots": 2, "step_ms": 1})
    async with streams_from(running) as stream:
        first = stream(units=MANY)
        await first.chunks(3)
        first.leave()
        async with streams_from(running) as elsewhere:
            await elsewhere(units=MANY).chunks(3)
        for _ in range(2):
            assert len(await stream(units=20).chunks(20)) == 20
    await running.at_rest()


async def test_a_node_killed_in_the_middle(mesh: StartMesh, redis: RedisServer) -> None:
    """UNAVAILABLE, which says how far it came; what waits for a place goes to the other node."""
    running = await mesh(redis=redis, options={"slots": 1, "step_ms": 1})
    await running.until(lambda status: goes_through_redis(status, "repeat@cpu"))
    lost = running.nodes[0]
    async with streams_from(running) as stream:
        both = [stream(units=MANY), stream(units=MANY)]
        for each in both:
            await each.chunks(5)
        waiting = stream(units=10)
        running.stack.kill(lost.name, signal.SIGKILL)
        ends = [asyncio.ensure_future(each.rest()) for each in both]
        (ended,), (going_on,) = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        error = ended.exception()
        assert isinstance(error, IsochroneError)
        assert (type(error).__name__, error.reason) == ("Unavailable", "STREAM_BROKEN")
        budget = await both[ends.index(ended)].budget()
        assert budget.chunks >= 5
        assert f"after {budget.chunks} chunks" in error.message
        both[ends.index(going_on)].leave()
        assert await waiting.rest() == 10
        going_on.cancel()
    await running.at_rest()


async def test_a_stream_outlives_redis(mesh: StartMesh, redis: RedisServer) -> None:
    """It goes over the link; and the next one begins without Redis."""
    running = await mesh(redis=redis, nodes=1, options={"step_ms": 1})
    await running.until(lambda status: goes_through_redis(status, "repeat@cpu"))
    async with streams_from(running) as stream:
        under_way = stream(units=1500)
        await under_way.chunks(5)
        await redis.kill()
        assert len(await stream(units=10).chunks(10)) == 10
        assert await under_way.rest() == 1495
        await redis.start()
    await running.at_rest()


async def test_a_deadline_in_the_middle(mesh: StartMesh) -> None:
    """The router's own word, in time, and nothing goes on behind it."""
    running = await mesh(nodes=1, options={"step_ms": 1})
    async with streams_from(running) as stream:
        for _ in range(10):  # a machine that stalls past the margin lets gRPC's own word come first
            late = stream(units=MANY, timeout_s=0.3)
            with contextlib.suppress(grpc.aio.AioRpcError):
                while True:
                    await late.chunks(1)
            assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            if STATUS_METADATA in await late.trailers():
                break
        assert type(await late.error()) is DeadlineExceeded
        assert (await late.budget()).chunks > 0
    await running.at_rest()


async def test_node_and_router_drain_with_streams_on_them(mesh: StartMesh) -> None:
    """They go on to their end."""
    running = await mesh(nodes=2, options={"slots": 1, "step_ms": 1})
    async with streams_from(running) as stream:
        both = [stream(units=2000), stream(units=2000)]
        for each in both:
            await each.chunks(1)
        running.stack.kill(running.nodes[0].name, signal.SIGTERM)
        running.stack.kill(running.router.name, signal.SIGTERM)
        assert await asyncio.gather(*(each.rest() for each in both)) == [1999, 1999]


async def test_a_nodes_own_api_streams_too(mesh: StartMesh) -> None:
    """A caller can't tell it from a router."""
    running = await mesh(nodes=1)
    async with streams(running.nodes[0].api) as stream:
        mine = stream(units=50)
        assert len(await mine.chunks(50)) == 50
        assert await mine.rest() == 0
        assert (await mine.budget()).node == "toy-0"
