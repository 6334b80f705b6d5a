"""Sessions: many requests on one stream, and what becomes of them when somebody leaves, floods or talks nonsense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import psutil
import pytest
from google.rpc import status_pb2

from conftest import StartMesh
from harness import ONE_BY_ONE, PATIENT, Load, RedisServer, Status, goes_through_redis, new_body, send, until
from isochrone.client import Client
from isochrone.errors import DeadlineExceeded, InvalidRequest, Overloaded, UnknownRoute, UnknownVariant
from isochrone.ports import a_free_one
from isochrone.status import from_status
from isochrone.testing.models import ECHO, REPEAT, SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone.v1 import router_pb2

pytestmark = pytest.mark.processes

METHOD = "/isochrone.v1.Router/Session"
HELLO = router_pb2.ClientFrames(hello=router_pb2.SessionHello(version_min=1, version_max=1))


class Raw:
    """A session by hand."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    async def say(self, *requests: router_pb2.SessionRequest, cancels: tuple[int, ...] = ()) -> None:
        frames = router_pb2.ClientFrames(requests=requests, cancels=cancels)
        await self.stream.write(frames.SerializeToString())

    async def hear(self) -> router_pb2.SessionFrames:
        data = await self.stream.read()
        assert data is not grpc.aio.EOF
        return router_pb2.SessionFrames.FromString(data)

    async def answers(self, count: int) -> dict[int, router_pb2.SessionAnswer]:
        found: dict[int, router_pb2.SessionAnswer] = {}
        while len(found) < count:
            found |= {answer.id: answer for answer in (await self.hear()).answers}
        return found

    async def refusal(self) -> tuple[grpc.StatusCode, str]:
        """How the router ends it."""
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while await self.stream.read() is not grpc.aio.EOF:
                pass
        return await self.stream.code(), await self.stream.details()


@asynccontextmanager
async def raw(target: str, *, hello: router_pb2.ClientFrames = HELLO) -> AsyncIterator[Raw]:
    async with grpc.aio.insecure_channel(target) as channel:
        stream: Any = channel.stream_stream(METHOD, None, None)()
        await stream.write(hello.SerializeToString())
        yield Raw(stream)
        stream.cancel()


def echo(id: int, body: bytes = b"body", **changes: Any) -> router_pb2.SessionRequest:
    return router_pb2.SessionRequest(id=id, route=ECHO, payload=body, **changes)


def error_in(answer: router_pb2.SessionAnswer) -> Any:
    return from_status(status_pb2.Status.FromString(answer.status))


async def test_a_session_carries_many_requests_and_each_gets_its_own_answer(
    mesh: StartMesh, redis: RedisServer
) -> None:
    """With its own budget, and on few streams."""
    running = await mesh(redis=redis)
    await running.until(goes_through_redis)
    client = running.client()
    bodies = [new_body(size) for size in (0, 10, 3_000, 70_000) for _ in range(100)]
    answers = await asyncio.gather(*(client.call(ECHO, body) for body in bodies))
    assert [answer.payload for answer in answers] == bodies
    assert all(answer.budget is not None and answer.budget.lane == "echo@cpu" for answer in answers)
    status = await running.status()
    assert status["router"]["sessions"] == 2
    await running.at_rest()


async def test_a_session_refuses_one_request_and_keeps_the_others(mesh: StartMesh) -> None:
    """Whatever is wrong with one of them is said in its answer."""
    running = await mesh(nodes=1)
    async with raw(running.router.address) as at:
        welcome = (await at.hear()).welcome
        assert (welcome.version, welcome.refusal, welcome.router) == (1, "", "router")
        await at.say(
            echo(1),
            router_pb2.SessionRequest(id=2, route="no.Such/Method"),
            echo(3, variant="echo.int8"),
            echo(4, b"x" * (welcome.request_bytes + 1)),
            echo(5, timeout_us=1),
            echo(6, b"last"),
        )
        answers = await at.answers(6)
        assert (answers[1].payload, answers[6].payload) == (b"body", b"last")
        errors = [type(error_in(answers[id])) for id in (2, 3, 4, 5)]
        assert errors == [UnknownRoute, UnknownVariant, InvalidRequest, DeadlineExceeded]


def frames(*requests: router_pb2.SessionRequest, **others: Any) -> bytes:
    return router_pb2.ClientFrames(requests=requests, **others).SerializeToString()


async def test_a_client_that_breaks_the_rules_loses_its_session_alone(mesh: StartMesh) -> None:
    """With INVALID_ARGUMENT and the field; nothing of it is left behind, and others don't notice."""
    running = await mesh(nodes=1, options={"sleep_ms": 50})
    slow = router_pb2.SessionRequest(id=7, route=SLEEP)
    many = [router_pb2.SessionRequest(id=id, route=SLEEP) for id in range(1, 201)]
    breaches = {
        "can't be parsed": [b"\xff\xff\xff"],
        "0: must be over 0": [frames(echo(0))],
        "7: must be over 0, and that of no request under way": [frames(slow, slow)],
        "credits.chunks": [frames(slow, credits=[router_pb2.SessionCredit(id=7)])],
        # In the middle of much else: what is under way is dropped with it.
        "4: must be over 0": [frames(*many), frames(echo(4))],
        "1: must be over 0": [frames(*([echo(1, b"x" * 1000)] * 1000))] * 5,
    }
    async with Load(running.client(), callers=4) as load:
        for told, said in breaches.items():
            async with raw(running.router.address) as at:
                await at.hear()
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it may have ended before the last
                    for message in said:
                        await at.stream.write(message)
                code, details = await at.refusal()
            # Of a write that fails because the stream has ended, gRPC's client may keep that instead of how it did.
            floods = len(said) > 2
            assert code is grpc.StatusCode.INVALID_ARGUMENT or (floods and code is grpc.StatusCode.INTERNAL)
            assert told in details or floods
            await load.answers(20)
    assert load.failures == []
    await running.at_rest()


async def test_an_id_may_be_used_again_once_its_request_is_over(mesh: StartMesh) -> None:
    """Answered, refused or cancelled, as often as the client likes."""
    running = await mesh(nodes=1)
    async with raw(running.router.address) as at:
        await at.hear()
        for round in range(50):
            await at.say(echo(9, b"%d" % round))
            assert (await at.answers(1))[9].payload == b"%d" % round
            await at.say(router_pb2.SessionRequest(id=9, route="no.Such/Method"))
            assert isinstance(error_in((await at.answers(1))[9]), UnknownRoute)
        await at.say(router_pb2.SessionRequest(id=9, route=SLEEP))
        for _ in range(1_000):
            await at.say(router_pb2.SessionRequest(id=9, route=SLEEP), cancels=(9,))
        await at.say(echo(10, b"last"))
        while 10 not in (answers := await at.answers(1)):
            pass
        assert answers[10].payload == b"last"
        await at.say(cancels=(9,))
    await running.at_rest()


async def test_who_speaks_another_version_is_told_so(mesh: StartMesh) -> None:
    """In the welcome, and the stream ends."""
    running = await mesh(nodes=1)
    newer = router_pb2.ClientFrames(hello=router_pb2.SessionHello(version_min=2, version_max=3))
    async with raw(running.router.address, hello=newer) as at:
        assert "session versions 2 to 3" in (await at.hear()).welcome.refusal
        assert (await at.refusal())[0] is grpc.StatusCode.OK


async def test_a_caller_that_gives_up_is_forgotten_everywhere(mesh: StartMesh, redis: RedisServer) -> None:
    """In the router, in the lane and on the node, whatever stage its request had reached."""
    running = await mesh(redis=redis, nodes=1, options={"sleep_ms": 50} | ONE_BY_ONE)
    await running.until(goes_through_redis)
    client = running.client()
    for _ in range(5):
        waiting = [asyncio.create_task(send(client)) for _ in range(8)]
        await asyncio.sleep(0.02)
        for task in waiting[1:]:
            task.cancel()
        assert (await waiting[0]).outcome == "answered"
    await running.at_rest()


async def test_a_client_that_vanishes_takes_its_requests_along(mesh: StartMesh) -> None:
    """Nobody waits for them any more."""
    route = {"objective_ms": 10_000, "deadline_ms": 10_000}
    running = await mesh(nodes=1, route=route, options={"sleep_ms": 300} | ONE_BY_ONE)
    async with raw(running.router.address) as at:
        await at.hear()
        await at.say(*(router_pb2.SessionRequest(id=id, route=SLEEP) for id in range(1, 9)))
        await running.until(lambda status: status["router"]["inflight"] == 8)
    await running.until(lambda status: status["router"]["inflight"] == 0, within_s=2)
    await running.at_rest()


async def test_a_flood_is_held_up_by_the_window(mesh: StartMesh) -> None:
    """The router owns no more of one client's requests than its window has; all are answered in the end."""
    running = await mesh(nodes=1)
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, (await running.status())["router"]["inflight"])

    async with raw(running.router.address) as at:
        window = (await at.hear()).welcome.window_requests
        watching = asyncio.create_task(watch())
        count = 20_000
        await at.say(*(echo(id, b"") for id in range(1, count + 1)))
        answers = await at.answers(count)
        watching.cancel()
    assert len(answers) == count
    assert {answer.status for answer in answers.values()} <= {b""} or _only_late(answers), answers
    assert most <= window
    await running.at_rest()


def _only_late(answers: dict[int, router_pb2.SessionAnswer]) -> bool:
    """Those at the end of a flood may be past their deadline when their turn comes, or would be."""
    late = (DeadlineExceeded, Overloaded)
    return all(isinstance(error_in(answer), late) for answer in answers.values() if answer.status)


async def test_a_client_that_stops_reading_is_held_up_and_costs_no_memory(mesh: StartMesh) -> None:
    """Its answers wait within the window, and others are answered meanwhile."""
    running = await mesh(nodes=1, route=PATIENT)
    assert running.router.pid is not None
    process = psutil.Process(running.router.pid)
    other = running.client()
    await send(other)
    async with raw(running.router.address) as at:
        await at.hear()
        before = process.memory_info().rss
        body = b"x" * 60_000

        async def flood() -> None:
            for id in range(1, 5_000):  # 300 MB of requests, and as many of answers
                await at.say(echo(id, body))

        flooding = asyncio.create_task(flood())
        for _ in range(5):
            assert {(await send(other)).outcome for _ in range(20)} == {"answered"}
        assert not flooding.done()
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        assert process.memory_info().rss - before < 100 * 2**20
    await running.at_rest()


async def test_a_client_that_never_reads_what_it_has_streamed(mesh: StartMesh) -> None:
    """It is held up, though it leaves its streams and begins others over and over; what was made for it is bounded."""
    running = await mesh(nodes=1, options={"slots": 16, "step_ms": 0}, route=PATIENT)
    assert running.router.pid is not None
    process = psutil.Process(running.router.pid)
    other = running.client()
    await send(other)
    request = toy_pb2.ToyMessage(body=b"x" * 20_000, units=1_000_000).SerializeToString()
    async with raw(running.router.address) as at:
        await at.hear()
        before = process.memory_info().rss
        id = 0

        async def flood() -> None:
            nonlocal id
            while True:
                for _ in range(8):
                    id += 1
                    await at.say(router_pb2.SessionRequest(id=id, route=REPEAT, payload=request, credits=1024))
                await asyncio.sleep(0.02)
                await at.say(cancels=tuple(range(id - 7, id + 1)))

        flooding = asyncio.create_task(flood())
        before_that = -1
        async with asyncio.timeout(60):
            while id != before_that:  # until it is held up
                before_that = id
                assert {(await send(other)).outcome for _ in range(20)} == {"answered"}
                await asyncio.sleep(0.5)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        assert process.memory_info().rss - before < 200 * 2**20
    await running.at_rest()


async def test_a_router_that_is_killed_under_sessions(mesh: StartMesh, redis: RedisServer) -> None:
    """The client goes on at the other, and loses nothing that there was time to send again."""
    running = await mesh(redis=redis)
    other = await running.add_router("other")
    client = Client([running.router.address, other.address])
    running.clients.append(client)
    async with Load(client, callers=16) as load:
        await load.answers(200)
        running.router.stopping = True
        running.router.kill()
        await load.answers(400)
    assert load.failures == []


async def test_a_router_that_drains_moves_its_sessions(mesh: StartMesh, redis: RedisServer) -> None:
    """SIGTERM: what it has is answered, what comes next goes to the other, and nothing fails."""
    running = await mesh(redis=redis)
    other = await running.add_router("other")
    client = Client([running.router.address, other.address])
    running.clients.append(client)
    async with Load(client, callers=16) as load:
        await load.answers(200)
        await running.router.stop(10)
        await load.answers(200)

        async def sessions() -> Status:
            return await running.status(other)

        await until(sessions, lambda status: status["router"]["sessions"] >= 2, within_s=10)
    assert load.failures == []


async def test_a_client_over_sessions_comes_back_to_a_router_that_was_restarted(mesh: StartMesh) -> None:
    """By itself, at the same address."""
    running = await mesh(nodes=1, router={"listen": a_free_one()})
    client = running.client()
    assert (await send(client)).outcome == "answered"
    running.router.stopping = True
    running.router.kill()
    await running.router.wait()
    assert (await send(client, timeout_s=0.3)).outcome == "Unavailable"
    await running.stack.restart("router")
    async with asyncio.timeout(10):
        while (await send(client)).outcome != "answered":
            await asyncio.sleep(0.05)
    await running.until(lambda status: status["router"]["sessions"] == 2)
