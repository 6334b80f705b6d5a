"""The router's end of a session whose answers stream: chunks under credits, then the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.rpc import status_pb2

from harness.by_hand import BUDGET, Asked, ByHand
from isochrone.deadline import monotonic
from isochrone.errors import IsochroneError, Unavailable
from isochrone.rpc import Call
from isochrone.starting import Ended, Leave, Start
from isochrone.status import from_status
from isochrone.v1 import router_pb2
from isochrone_router.answer_stream import MOST_CREDITS
from isochrone_router.outgoing import MESSAGE_BYTES
from isochrone_router.session import Company, Session, Sessions, Window

HELLO = router_pb2.ClientFrames(hello=router_pb2.SessionHello(version_min=1, version_max=1))
ROUTE = "isochrone.testing.v1.Toy/Repeat"


class Stream:
    """A session's gRPC stream, held from the client's end."""

    def __init__(self) -> None:
        self.start = ByHand()
        self._in: asyncio.Queue[Any] = asyncio.Queue()
        self._out: asyncio.Queue[router_pb2.SessionFrames] = asyncio.Queue()
        self.may_write = asyncio.Event()
        self.may_write.set()

    async def read(self) -> Any:
        return await self._in.get()

    async def write(self, data: bytes) -> None:
        await self.may_write.wait()
        self._out.put_nowait(router_pb2.SessionFrames.FromString(data))

    def say(self, frames: router_pb2.ClientFrames | None = None, **fields: Any) -> None:
        self._in.put_nowait((frames or router_pb2.ClientFrames(**fields)).SerializeToString())

    def say_no_more(self) -> None:
        self._in.put_nowait(grpc.aio.EOF)  # type: ignore[attr-defined]

    def grant(self, id: int, chunks: int) -> None:
        self.say(credits=[router_pb2.SessionCredit(id=id, chunks=chunks)])

    async def asked(self, id: int = 1, *, credits: int = 4, **fields: Any) -> Asked:
        """A request that the session has started."""
        self.say(requests=[router_pb2.SessionRequest(id=id, route=ROUTE, credits=credits, **fields)])
        return await self.start.next()

    async def hear(self) -> router_pb2.SessionFrames:
        return await asyncio.wait_for(self._out.get(), 10)

    async def told(self, answers: int = 1) -> list[tuple[int, int, bytes] | int]:
        """What comes until so many answers have: chunks as (id, number, payload), answers as their ids."""
        told: list[tuple[int, int, bytes] | int] = []
        while sum(isinstance(each, int) for each in told) < answers:
            frames = await self.hear()
            told += [(chunk.id, chunk.number, chunk.payload) for chunk in frames.chunks]
            told += [answer.id for answer in frames.answers]
        return told

    def is_silent(self) -> bool:
        return self._out.empty()


async def serve(stream: Stream, start: Start, *, window: Window | None = None, company: Company) -> None:
    """A session until its end."""
    served = Session(stream, start, name="router", window=window or Window(), clock=monotonic, company=company)
    await served.run()


@asynccontextmanager
async def session(window: Window | None = None, *, fails: str = "") -> AsyncIterator[Stream]:
    """A session that has said welcome. It ends well, or with words that `fails` is among."""
    stream = Stream()
    serving = asyncio.create_task(serve(stream, stream.start, window=window, company=Company()))
    stream.say(HELLO)
    assert (await stream.hear()).welcome.version == 1
    try:
        yield stream
        if fails:
            with pytest.raises(IsochroneError, match=fails):
                await asyncio.wait_for(serving, 10)
        else:
            stream.say_no_more()
            await asyncio.wait_for(serving, 10)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def settle() -> None:
    """Lets the session do all that it can do by itself."""
    for _ in range(20):
        await asyncio.sleep(0)


def error_in(answer: router_pb2.SessionAnswer) -> IsochroneError:
    return from_status(status_pb2.Status.FromString(answer.status))


async def test_chunks_go_out_in_order_and_the_answer_after_the_last() -> None:
    """Those of one turn of the loop in one message; the answer has the budget and no payload."""
    async with session() as at:
        asked = await at.asked(7)
        for payload in (b"a", b"b", b"c"):
            asked.chunk(payload)
        asked.end()
        frames = await at.hear()
        assert [(chunk.id, chunk.number, chunk.payload) for chunk in frames.chunks] == [
            (7, 1, b"a"),
            (7, 2, b"b"),
            (7, 3, b"c"),
        ]
        (answer,) = frames.answers
        assert (answer.id, answer.payload, answer.status, answer.budget) == (7, b"", b"", BUDGET)
        await asked.all_taken()


async def test_past_its_credits_a_chunk_waits_and_so_does_the_answer() -> None:
    """They leave as more are granted, one request's without regard to another's."""
    async with session() as at:
        one, two = await at.asked(1, credits=2), await at.asked(2, credits=1)
        for payload in (b"a", b"b", b"c", b"d"):
            one.chunk(payload)
        one.end()
        two.chunk(b"x")
        two.end()
        assert await at.told() == [(1, 1, b"a"), (1, 2, b"b"), (2, 1, b"x"), 2]
        await settle()
        assert (one.taken, at.is_silent()) == (2, True)
        at.grant(1, 1)
        frames = await at.hear()
        assert ([chunk.payload for chunk in frames.chunks], len(frames.answers)) == ([b"c"], 0)
        at.grant(1, 5)
        assert await at.told() == [(1, 4, b"d"), 1]


async def test_a_chunk_is_taken_once_it_has_been_written() -> None:
    """So that a client that reads nothing holds up whoever makes the chunks."""
    async with session() as at:
        asked = await at.asked(credits=100)
        at.may_write.clear()
        making = asyncio.create_task(asked.make([b"x"] * 50, ahead=8))
        await settle()
        assert (asked.made, asked.taken) == (8, 0)
        at.may_write.set()
        await making
        asked.end()
        assert len(await at.told()) == 51


async def test_an_error_comes_after_the_chunks_before_it() -> None:
    """With its budget."""
    async with session() as at:
        asked = await at.asked(credits=1)
        asked.chunk(b"a")
        asked.chunk(b"b")
        asked.end(error=Unavailable("the node is gone", reason="NODE_LOST"))
        assert [chunk.payload for chunk in (await at.hear()).chunks] == [b"a"]
        at.grant(1, 1)
        frames = await at.hear()
        assert [chunk.payload for chunk in frames.chunks] == [b"b"]
        error = error_in(frames.answers[0])
        assert (type(error), error.reason, frames.answers[0].budget) == (Unavailable, "NODE_LOST", BUDGET)


async def test_a_refusal_is_an_answer_without_chunks() -> None:
    """As for a request that doesn't stream."""
    async with session() as at:
        at.start.refusal = Unavailable("leaving", reason="DRAINING")
        at.say(requests=[router_pb2.SessionRequest(id=1, route=ROUTE, credits=1)])
        frames = await at.hear()
        assert (len(frames.chunks), error_in(frames.answers[0]).reason) == (0, "DRAINING")


async def test_a_request_without_credits_does_not_stream() -> None:
    """It is started without an ear for chunks, and its answer has the payload. Credits for it change nothing."""
    async with session() as at:
        asked = await at.asked(credits=0)
        assert not asked.streams
        at.grant(1, 3)
        await settle()
        asked.end(b"whole")
        assert (await at.hear()).answers[0].payload == b"whole"


async def test_who_cancels_hears_no_more_of_it() -> None:
    """What waited is dropped, the request is left, and its place in the window is free."""
    async with session(Window(requests=1)) as at:
        asked = await at.asked(1, credits=1)
        asked.chunk(b"a")
        asked.chunk(b"b")
        await at.hear()
        at.say(cancels=[1])
        other = await at.asked(2)
        assert asked.left.is_set()
        at.grant(1, 5)
        other.end()
        assert await at.told() == [2]


async def test_who_cancels_while_the_answer_waits_is_rid_of_both() -> None:
    """The request had ended, and still held its place."""
    async with session(Window(requests=1)) as at:
        asked = await at.asked(1, credits=1)
        asked.chunk(b"a")
        asked.chunk(b"b")
        asked.end()
        await at.hear()
        at.say(cancels=[1])
        (await at.asked(2)).end()
        assert await at.told() == [2]


async def test_a_stream_counts_against_the_window_until_it_is_answered() -> None:
    """However many of its chunks have left."""
    async with session(Window(requests=1)) as at:
        one = await at.asked(1)
        one.chunk(b"a")
        at.say(requests=[router_pb2.SessionRequest(id=2, route=ROUTE, credits=1)])
        await settle()
        assert at.start._taken_in.empty()
        one.end()
        (await at.start.next()).end()
        assert await at.told(answers=2) == [(1, 1, b"a"), 1, 2]


async def test_chunks_count_against_the_window_until_they_are_written() -> None:
    """Whoever cancels streams and begins others without reading anything is held up."""
    async with session(Window(bytes=100)) as at:
        at.may_write.clear()
        for id in (1, 2):
            asked = await at.asked(id)
            asked.chunk(b"x" * 60)
            at.say(cancels=[id])
            await asyncio.wait_for(asked.left.wait(), 10)
        at.say(requests=[router_pb2.SessionRequest(id=3, route=ROUTE, credits=1)])
        await settle()
        assert at.start._taken_in.empty()
        at.may_write.set()
        (await at.start.next()).end()
        assert [told for told in await at.told() if isinstance(told, int)] == [3]


async def test_a_session_that_ends_leaves_its_streams() -> None:
    """As it does with everything else that is under way."""
    async with session(fails="can't be parsed") as at:
        asked = await at.asked()
        asked.chunk(b"a")
        at._in.put_nowait(b"\xff\xff\xff")
        await asyncio.wait_for(asked.left.wait(), 10)


async def test_a_client_that_says_no_more_takes_what_comes() -> None:
    """It can grant nothing any more: what waits leaves, and what comes after it."""
    async with session() as at:
        asked = await at.asked(credits=1)
        for payload in (b"a", b"b"):
            asked.chunk(payload)
        at.say_no_more()
        await settle()
        asked.chunk(b"c")
        asked.end()
        assert [each[2] if isinstance(each, tuple) else each for each in await at.told()] == [b"a", b"b", b"c", 1]


@pytest.mark.parametrize(
    ("frames", "told"),
    [
        (router_pb2.ClientFrames(credits=[router_pb2.SessionCredit(id=1)]), "a grant is of one chunk at least"),
        (router_pb2.ClientFrames(credits=[router_pb2.SessionCredit(id=9)]), "a grant is of one chunk at least"),
        (
            router_pb2.ClientFrames(credits=[router_pb2.SessionCredit(id=1, chunks=MOST_CREDITS)]),
            "1028 for one request; at most 1024",
        ),
        (
            router_pb2.ClientFrames(requests=[router_pb2.SessionRequest(id=2, route=ROUTE, credits=MOST_CREDITS + 1)]),
            "1025 for one request; at most 1024",
        ),
    ],
)
async def test_nonsense_about_credits_ends_the_session(frames: router_pb2.ClientFrames, told: str) -> None:
    """With what is wrong; what was under way is left."""
    async with session(fails=told) as at:
        asked = await at.asked(1, credits=4)
        at.say(frames)
        await asyncio.wait_for(asked.left.wait(), 10)


async def test_credits_for_what_is_over_are_ignored() -> None:
    """They may have crossed the answer on their way."""
    async with session() as at:
        (await at.asked(1)).end()
        assert await at.told() == [1]
        at.grant(1, 1)
        at.grant(99, 5)
        (await at.asked(2)).end()
        assert await at.told() == [2]


async def test_chunks_count_to_the_size_of_a_message() -> None:
    """It is closed once it has enough, so that small answers don't wait for the last of many large chunks."""
    async with session() as at:
        asked = await at.asked(credits=6)
        for _ in range(6):
            asked.chunk(bytes(MESSAGE_BYTES // 2))
        asked.end()
        assert [len((await at.hear()).chunks) for _ in range(2)] == [3, 3]


async def test_what_the_client_says_of_a_request_reaches_its_call() -> None:
    """Tier and trace context."""
    async with session() as at:
        call = (await at.asked(1, tier="gold", traceparent="00-aa-bb-01", tracestate="k=v")).call
        assert (call.tier, call.traceparent, call.tracestate) == ("gold", "00-aa-bb-01", "k=v")
        at.say(cancels=[1])


async def test_a_router_that_drains_lets_streams_go_on() -> None:
    """It says so, and still takes credits."""
    stream = Stream()
    sessions = Sessions(stream.start, name="router", window=Window(), clock=monotonic)
    serving = asyncio.create_task(sessions._serve(None, stream))
    stream.say(HELLO)
    await stream.hear()
    asked = await stream.asked(credits=1)
    sessions.drain()
    assert (await stream.hear()).drain
    asked.chunk(b"a")
    asked.chunk(b"b")
    asked.end()
    await stream.hear()
    stream.grant(1, 1)
    assert await stream.told() == [(1, 2, b"b"), 1]
    stream.say_no_more()
    await asyncio.wait_for(serving, 10)
    assert len(sessions) == 0


async def test_next_to_a_flood_small_messages_are_read_often() -> None:
    """Each turn of the loop reads one of them, so turns are short while, and only while, others have requests there."""
    flood, calm, company, started = Stream(), Stream(), Company(), list[str]()

    def start(call: Call, ended: Callable[[Ended], None], *_: object) -> Leave:
        started.append(call.request.decode())
        return lambda: None

    serving = [asyncio.create_task(serve(stream, start, company=company)) for stream in (flood, calm)]

    def requests(whose: str, ids: range) -> list[router_pb2.SessionRequest]:
        return [router_pb2.SessionRequest(id=id, route=ROUTE, payload=whose.encode()) for id in ids]

    for stream in (flood, calm):
        stream.say(HELLO)
        await stream.hear()
    flood.say(requests=requests("flood", range(1, 301)))
    for id in range(1, 9):
        calm.say(requests=requests("calm", range(id, id + 1)))
    for _ in range(200):
        await asyncio.sleep(0)
    assert started.count("flood") == 300
    assert [turn for turn, whose in enumerate(started) if whose == "calm"][-1] < 200
    assert started[:64].count("flood") > 56, "alone, it goes on for longer"
    assert company.busy == 2, "two clients"
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    assert company.busy == 0


async def test_sessions_of_one_client_are_no_company() -> None:
    """A client has two of them by itself: it pays nothing for that."""
    company = Company()
    streams = [Stream(), Stream()]
    serving = [asyncio.create_task(serve(stream, stream.start, company=company)) for stream in streams]
    for stream in streams:
        hello = router_pb2.SessionHello(version_min=1, version_max=1, client=7)
        stream.say(router_pb2.ClientFrames(hello=hello))
        await stream.hear()
        stream.say(requests=[router_pb2.SessionRequest(id=1, route=ROUTE, payload=b"x")])
    for _ in range(20):
        await asyncio.sleep(0)
    assert company.busy == 1
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    assert company.busy == 0
