"""How streams end that don't end well: errors, deadlines, lost connections, and routers and clients that leave."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from harness.by_hand import BUDGET
from isochrone.client import Client, SyncClient
from isochrone.client.incoming import CREDITS
from isochrone.errors import Cancelled, DeadlineExceeded, InvalidRequest, Overloaded, Unavailable, UnknownVariant

ROUTE = "isochrone.testing.v1.Toy/Repeat"


async def begun(at: Any, client: Any, *, timeout_s: float = 30) -> tuple[Any, Any]:
    """A stream whose first chunk has been read, and its request."""
    stream = client.stream(ROUTE, b"", timeout_s=timeout_s)
    reading = asyncio.create_task(anext(stream))
    asked = await at.start.next()
    asked.chunk(b"first")
    assert await reading == b"first"
    return stream, asked


async def test_an_error_comes_after_the_chunks_that_were_before_it(served: Any) -> None:
    """Typed, with its budget; after it the stream is over."""
    at, client = served
    stream, asked = await begun(at, client)
    asked.chunk(b"second")
    asked.end(error=Unavailable("the node is gone", reason="NODE_LOST"))
    assert await anext(stream) == b"second"
    with pytest.raises(Unavailable, match="the node is gone") as caught:
        await anext(stream)
    assert (caught.value.reason, caught.value.budget.report) == ("NODE_LOST", BUDGET)
    assert caught.value.__context__ is None
    assert stream.budget.report == BUDGET
    assert [chunk async for chunk in stream] == []


@pytest.mark.parametrize("refusal", [UnknownVariant("no int8 here"), Overloaded("full", retry_after_s=0.5)])
async def test_a_refusal_is_raised_by_the_first_step(served: Any, refusal: Any) -> None:
    """As a call raises it."""
    at, client = served
    at.start.refusal = refusal
    with pytest.raises(type(refusal)) as caught:
        await anext(client.stream(ROUTE, b""))
    assert (caught.value.message, caught.value.reason) == (refusal.message, refusal.reason)


async def test_wrong_arguments_are_refused_at_once(served: Any) -> None:
    """Before anything is read from the stream; its size when it is to be sent."""
    _, client = served
    for wrong in ({"timeout_s": 0}, {"variant": "a b"}, {"tier": "platinum"}):
        with pytest.raises(ValueError, match="should"):
            client.stream(ROUTE, b"", **wrong)
    with pytest.raises(TypeError, match="priority"):
        client.stream(ROUTE, b"", priority=1)
    with pytest.raises(InvalidRequest, match="at most 8388608"):
        await anext(client.stream(ROUTE, bytes(2**23 + 1)))


async def test_the_deadline_is_that_of_the_whole_answer(served: Any) -> None:
    """What came before it is read; the mesh is told that nobody waits, or has seen it itself."""
    at, client = served
    stream, asked = await begun(at, client, timeout_s=1.0)
    with pytest.raises(DeadlineExceeded):
        await anext(stream)
    await asyncio.wait_for(asked.left.wait(), 10)
    assert [chunk async for chunk in stream] == []


async def test_a_reader_late_for_the_deadline_still_has_what_arrived_before(router: Any) -> None:
    """All of it where the answer was whole; where it wasn't, the error after it. The mesh doesn't wait for either."""
    at = await router()
    client = at.client()
    whole, asked = await begun(at, client, timeout_s=0.4)
    asked.chunk(b"second")
    asked.end()
    part, half_made = await begun(at, client, timeout_s=0.3)
    half_made.chunk(b"second")
    await asyncio.wait_for(half_made.left.wait(), 10)
    await asyncio.sleep(0.2)
    assert [chunk async for chunk in whole] == [b"second"]
    assert whole.budget.report == BUDGET
    assert await anext(part) == b"second"
    with pytest.raises(DeadlineExceeded):
        await anext(part)


async def test_a_connection_lost_midway_is_unavailable(served: Any) -> None:
    """Not tried again from here: a part of the answer is out already. What had arrived is read first."""
    at, client = served
    stream, asked = await begun(at, client)
    await at.server.stop(0)
    with pytest.raises(Unavailable) as caught:
        await anext(stream)
    assert (caught.value.reason, caught.value.may_retry, caught.value.budget) == ("CONNECTION_LOST", True, None)
    await asyncio.wait_for(asked.left.wait(), 10)


async def test_a_session_lost_before_the_first_chunk_costs_nothing(router: Any) -> None:
    """The request goes to another router, and its caller doesn't notice."""
    routers = [await router() for _ in range(2)]
    async with Client([each.target for each in routers]) as client:
        reading = asyncio.create_task(read_all(client.stream(ROUTE, b"")))
        taking = [asyncio.create_task(each.start.next()) for each in routers]
        await asyncio.wait(taking, return_when=asyncio.FIRST_COMPLETED)
        first = 0 if taking[0].done() else 1
        await routers[first].server.stop(0)
        asked = await taking[1 - first]
        await asked.make([b"x"] * 100)
        asked.end()
        assert len(await reading) == 100


@pytest.mark.parametrize("blocks", [False, True])
async def test_a_connection_lost_before_the_first_chunk_is_tried_again(blocking: Any, blocks: bool) -> None:
    """At its own address, where another process may have taken over; twice at most."""
    unheard = 2

    async def behaviour(_payload: bytes, context: Any) -> Any:
        nonlocal unheard
        if unheard:
            unheard -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        yield b"first"
        await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")

    class Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_stream_rpc_method_handler(behaviour)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Everything(),))
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    client: Any = blocking(SyncClient(target)) if blocks else Client(target, sessions=0)
    for tries in (2, 3):
        unheard = tries
        stream = client.stream(ROUTE, b"")
        if tries == 2:
            assert await anext(stream) == b"first"
        with pytest.raises(Unavailable, match="gone"):
            await anext(stream)
        assert unheard == 0
    await client.close()
    await server.stop(0)


async def test_a_router_that_drains_finishes_its_streams(router: Any) -> None:
    """Credits still go there, and once all is said the session is closed."""
    at = await router()
    client = at.client(sessions=1)
    stream, asked = await begun(at, client)
    at.edge.sessions.drain()
    reading = asyncio.create_task(read_all(stream))
    await asked.make([b"x"] * 10 * CREDITS)
    stopping = asyncio.create_task(at.server.stop(10))
    await asked.make([b"y"] * CREDITS)
    asked.end()
    assert len(await reading) == 11 * CREDITS
    assert stream.budget.report == BUDGET
    await asyncio.wait_for(stopping, 5)
    assert len(at.edge.sessions) == 0


async def test_a_session_that_drains_while_a_stream_waits_for_its_reader(router: Any) -> None:
    """The router isn't held up by who has closed the stream."""
    at = await router()
    client = at.client(sessions=1)
    stream, asked = await begun(at, client)
    at.edge.sessions.drain()
    making = asyncio.create_task(asked.make([b"x"] * 100))
    await stream.aclose()
    await asyncio.wait_for(asked.left.wait(), 10)
    making.cancel()
    await asyncio.wait_for(at.server.stop(10), 5)


async def test_closing_the_client_ends_its_streams(served: Any) -> None:
    """With Cancelled, once their grace is over."""
    at, client = served
    stream, asked = await begun(at, client)
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0.05)
    await (client.close() if "Blocking" in type(client).__name__ else client.close(grace_s=0.05))
    with pytest.raises(Cancelled):
        await reading
    await asyncio.wait_for(asked.left.wait(), 10)
    with pytest.raises(RuntimeError, match="closed"):
        await anext(client.stream(ROUTE, b""))


async def test_closing_the_client_lets_streams_end_within_the_grace(router: Any) -> None:
    """Their readers go on meanwhile."""
    at = await router()
    client = at.client()
    stream, asked = await begun(at, client)
    reading = asyncio.create_task(read_all(stream))
    closing = asyncio.create_task(client.close(grace_s=10))
    await asked.make([b"x"] * 3 * CREDITS)
    asked.end()
    assert len(await reading) == 3 * CREDITS
    await asyncio.wait_for(closing, 5)


async def read_all(stream: Any) -> list[bytes]:
    return [chunk async for chunk in stream]
