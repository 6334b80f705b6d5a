"""Answers that stream: their order, who holds up whom, and what becomes of one that is left early."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from harness.by_hand import BUDGET
from isochrone.client import Budget
from isochrone.client.incoming import CREDITS, Incoming
from isochrone.errors import Unavailable
from isochrone.v1 import budget_pb2
from isochrone_router.session import REQUEST_BYTES, Window

ROUTE = "isochrone.testing.v1.Toy/Repeat"


async def test_chunks_come_in_order_and_the_budget_after_the_last(served: Any) -> None:
    """However many there are, and none is missing."""
    at, client = served
    stream = client.stream(ROUTE, b"please", timeout_s=30)
    sent = [b"%d" % number for number in range(500)]
    reading = asyncio.create_task(read_all(stream))
    asked = await at.start.next()
    assert (asked.call.route, asked.call.request, asked.streams) == (ROUTE, b"please", True)
    await asked.make(sent)
    assert stream.budget is None
    asked.end()
    assert await reading == sent
    assert stream.budget.report == BUDGET
    assert (stream.budget.chunks, stream.budget.total_ms) == (3, 4.2)
    assert [chunk async for chunk in stream] == []


async def test_an_answer_may_have_no_chunks(served: Any) -> None:
    """It is an iterator that ends at once."""
    at, client = served
    stream = client.stream(ROUTE, b"")
    reading = asyncio.create_task(read_all(stream))
    (await at.start.next()).end()
    assert await reading == []
    assert stream.budget.report == BUDGET


async def test_nothing_is_sent_until_the_first_chunk_is_asked_for(served: Any) -> None:
    """A stream that nobody reads costs nothing."""
    at, client = served
    stream = client.stream(ROUTE, b"one")
    await stream.aclose()
    other = asyncio.create_task(read_all(client.stream(ROUTE, b"two")))
    asked = await at.start.next()
    assert asked.call.request == b"two"
    asked.end()
    await other


async def test_a_reader_that_pauses_holds_the_mesh_up(served: Any) -> None:
    """No more is made than fits on the way; it goes on when the reader does, and nothing is lost."""
    at, client = served
    sent = [b"%d" % number + bytes(100_000) for number in range(800)]
    stream = client.stream(ROUTE, b"", timeout_s=60)
    first = asyncio.create_task(anext(stream))
    asked = await at.start.next()
    making = asyncio.create_task(asked.make(sent))
    assert await first == sent[0]
    before = -1
    while asked.made != before:  # until it stands still
        before = asked.made
        await asyncio.sleep(0.2)
    assert asked.made < 400  # gRPC's window grows to 16 MiB, and the sockets' buffers hold some
    reading = asyncio.create_task(read_all(stream))
    await making
    asked.end()
    assert await reading == sent[1:]


async def test_over_a_session_credits_say_how_much_is_made_ahead(router: Any) -> None:
    """To the chunk: so many on their way or with the client, and what the node itself may have ahead."""
    at = await router()
    stream = at.client().stream(ROUTE, b"")
    first = asyncio.create_task(anext(stream))
    asked = await at.start.next()
    making = asyncio.create_task(asked.make([b"x"] * 200, ahead=8))
    await first
    while asked.made < CREDITS + 8:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)
    assert (asked.made, asked.taken) == (CREDITS + 8, CREDITS)
    for _ in range(CREDITS // 2 - 1):
        await anext(stream)
    while asked.made < CREDITS + CREDITS // 2 + 8:
        await asyncio.sleep(0.001)
    reading = asyncio.create_task(read_all(stream))
    await making
    asked.end()
    assert len(await reading) == 200 - CREDITS // 2


async def test_a_reader_that_pauses_holds_up_nobody_else(router: Any) -> None:
    """Others on the same session go on, in streams and in calls."""
    at = await router()
    client = at.client(sessions=1)
    paused = client.stream(ROUTE, b"")
    first = asyncio.create_task(anext(paused))
    asked = await at.start.next()
    making = asyncio.create_task(asked.make([bytes(10_000)] * 1000))
    await first
    for _ in range(20):
        reading = asyncio.create_task(read_all(client.stream(ROUTE, b"")))
        other = await at.start.next()
        await other.make([b"x"] * 100)
        other.end()
        assert len(await reading) == 100
        call = asyncio.create_task(client.call("a.B/C", b""))
        (await at.start.next()).end(b"whole")
        assert (await call).payload == b"whole"
    assert asked.made < 1000
    making.cancel()
    await paused.aclose()


async def test_streams_side_by_side_keep_apart(served: Any) -> None:
    """Each has its own chunks, in its own order."""
    at, client = served
    count = 8 if "Blocking" in type(client).__name__ else 40

    async def answer() -> None:
        asked = await at.start.next()
        await asked.make([asked.call.request + b":%d" % number for number in range(100)])
        asked.end()

    answering = [asyncio.create_task(answer()) for _ in range(count)]
    streams = [client.stream(ROUTE, b"%d" % number, timeout_s=60) for number in range(count)]
    read = await asyncio.gather(*map(read_all, streams))
    for number, chunks in enumerate(read):
        assert chunks == [b"%d:%d" % (number, place) for place in range(100)]
    await asyncio.gather(*answering)


async def test_a_stream_past_the_window_waits_for_its_turn(router: Any) -> None:
    """With the client: credits of those under way still reach the router."""
    at = await router(window=Window(requests=2))
    client = at.client(sessions=1)
    reading = [asyncio.create_task(read_all(client.stream(ROUTE, b""))) for _ in range(6)]
    for _ in range(6):
        asked = await at.start.next()
        await asked.make([b"x"] * 3 * CREDITS)
        asked.end()
    assert [len(chunks) for chunks in await asyncio.gather(*reading)] == [3 * CREDITS] * 6


@pytest.mark.parametrize("how", ["closed", "left", "dropped"])
async def test_who_leaves_early_takes_the_request_along(served: Any, how: str) -> None:
    """By `aclose`, by the end of `async with`, or by dropping the stream."""
    at, client = served
    stream = client.stream(ROUTE, b"")
    reading = asyncio.create_task(anext(stream))
    asked = await at.start.next()
    asked.chunk(b"first")
    assert await reading == b"first"
    if how == "closed":
        await stream.aclose()
    elif how == "left":
        async with stream:
            pass
    else:
        del stream
    await asyncio.wait_for(asked.left.wait(), 10)


@pytest.mark.parametrize("with_sessions", [True, False])
async def test_cancelling_the_task_that_waits_cancels_the_request(router: Any, with_sessions: bool) -> None:
    """Between two chunks; the stream is over then."""
    at = await router(with_sessions=with_sessions)
    stream = at.client().stream(ROUTE, b"")
    reading = asyncio.create_task(anext(stream))
    asked = await at.start.next()
    asked.chunk(b"first")
    await reading
    reading = asyncio.create_task(anext(stream))
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await asyncio.wait_for(asked.left.wait(), 10)
    assert await read_all(stream) == []


async def test_whatever_becomes_of_streams_nothing_of_them_is_left(router: Any) -> None:
    """Of hundreds that end, fail or are left at any point, the session is empty afterwards."""
    at = await router(window=Window(requests=16))
    client = at.client(sessions=1)
    chance = random.Random(5)

    async def answer(asked: Any) -> None:
        for _ in range(chance.randrange(100)):
            asked.chunk(b"x")
            if chance.random() < 0.3:
                await asyncio.sleep(0)
            if asked.left.is_set():
                return
        asked.end(error=Unavailable("no luck") if chance.random() < 0.2 else None)

    async def answer_all() -> None:
        async with asyncio.TaskGroup() as answering:
            while True:
                answering.create_task(answer(await at.start.next()))

    async def ask() -> None:
        async with client.stream(ROUTE, b"", timeout_s=30) as stream:
            most = chance.choice((1, 10, 40, 1000))
            try:
                async for _ in stream:
                    most -= 1
                    if not most:
                        return
            except Unavailable:
                pass

    answering = asyncio.create_task(answer_all())
    asking = [asyncio.create_task(ask()) for _ in range(400)]
    await asyncio.sleep(0.05)
    for task in asking[::7]:
        task.cancel()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(each) for each in ended} <= {type(None), asyncio.CancelledError}
    (session,) = at.edge.sessions._open
    async with asyncio.timeout(10):
        while repr(session) != "<Session 0 under way, 0 of 16 held>":
            await asyncio.sleep(0.01)
    answering.cancel()
    await asyncio.wait([answering])


async def test_leaving_before_the_first_chunk_is_heard_as_well(router: Any) -> None:
    """While it is still being worked on."""
    at = await router()
    reading = asyncio.create_task(anext(at.client().stream(ROUTE, b"")))
    asked = await at.start.next()
    reading.cancel()
    await asyncio.wait([reading])
    await asyncio.wait_for(asked.left.wait(), 10)


async def test_a_large_request_travels_by_itself(router: Any) -> None:
    """Past what a session takes, as an RPC that streams."""
    at = await router()
    client = at.client()
    for size, rpcs in ((REQUEST_BYTES, []), (REQUEST_BYTES + 1, [ROUTE])):
        stream = client.stream(ROUTE, bytes(size))
        reading = asyncio.create_task(read_all(stream))
        asked = await at.start.next()
        await asked.make([b"x"] * 100)
        asked.end()
        assert (len(await reading), len(asked.call.request), at.edge.rpcs) == (100, size, rpcs)
        assert stream.budget.report == BUDGET


def test_credits_come_back_as_the_reader_takes_chunks() -> None:
    """Half of them at a time; a gap among the chunks is the session's end."""
    incoming = Incoming()
    for number in range(1, CREDITS + 1):
        incoming.put(number, b"%d" % number)
    granted = [incoming.take()[1] for _ in range(CREDITS)]
    assert [grant for grant in granted if grant] == [CREDITS // 2] * 2
    assert granted.index(CREDITS // 2) == CREDITS // 2 - 1
    with pytest.raises(ValueError, match=f"chunk {CREDITS + 2} came where {CREDITS + 1} was due"):
        incoming.put(CREDITS + 2, b"")


def test_the_budget_of_a_stream_tells_its_first_chunk() -> None:
    """The objective is for that one."""
    report = budget_pb2.BudgetReport(
        objective_us=150_000, first_us=8_340, total_us=2_000_000, chunks=20, lane="blurb.fp32@cpu", node="llm-0"
    )
    budget = Budget(report)
    assert (budget.first_ms, budget.chunks) == (8.34, 20)
    assert repr(budget) == "<Budget 8.34 of 150 ms to the first of 20 chunks, in time, blurb.fp32@cpu on llm-0>"


async def read_all(stream: Any) -> list[bytes]:
    return [chunk async for chunk in stream]
