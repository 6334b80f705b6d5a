"""Deadlines that nobody means: none, negative, of years, no number at all; and clocks that jump while requests wait."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest
from bench.unary_http2 import Connection
from google.rpc import status_pb2

from conftest import StartMesh
from harness import ONE_BY_ONE, Mesh, RedisServer, Status, goes_through_redis, new_body, send
from harness.faketime import LIBRARY, WallClock
from isochrone.client import Client, Leg, Outcome
from isochrone.errors import DeadlineExceeded, Overloaded
from isochrone.status import from_status
from isochrone.testing.models import ECHO, SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone.v1 import router_pb2

pytestmark = pytest.mark.processes

YEARS_S = 3.2e9
OK, DEADLINE_EXCEEDED = 0, 4


class AsWritten(Connection):
    """Sends a grpc-timeout as it is written, which gRPC's own clients would not."""

    written = ""

    def _head(self, method: str, timeout_s: float) -> bytes:
        head, before = super()._head(method, 0.001), b"\x0cgrpc-timeout\x021m"
        assert before in head
        return head.replace(before, b"\x0cgrpc-timeout" + bytes([len(self.written)]) + self.written.encode())


async def test_timeouts_as_they_may_stand_on_the_wire(mesh: StartMesh) -> None:
    """Of nothing, of less than nothing, of years, and such as are none: each has a clear outcome, and at once."""
    running = await mesh(nodes=1)
    for written, codes in {
        "0n": {DEADLINE_EXCEEDED},
        "1n": {DEADLINE_EXCEEDED},
        "1u": {DEADLINE_EXCEEDED},
        "99999999H": {OK},  # eleven thousand years, the longest there is
        "99999999S": {OK},
        "-1S": {OK, 3, 13},  # gRPC itself reads it, or doesn't
        "soon": {OK, 3, 13},
    }.items():
        connection = await AsWritten.open(running.router.address)
        connection.written = written
        code = await asyncio.wait_for(connection.call(f"/{ECHO}", b"body", timeout_s=0.001), 10)
        assert code in codes, (written, code)
        connection.close()
    await running.at_rest()


async def test_timeouts_as_clients_give_them(mesh: StartMesh) -> None:
    """None that has passed or is no number is sent at all; one of years leaves the route's own deadline."""
    running = await mesh(nodes=1)
    for sessions in (0, 1):
        async with Client(running.router.address, sessions=sessions) as client:
            for timeout_s in (0.0, -1.0, -YEARS_S, float("nan"), float("inf")):
                with pytest.raises(ValueError, match="timeout_s should be over 0 and finite"):
                    await send(client, timeout_s=timeout_s)
            sent = await send(client, timeout_s=YEARS_S)
            assert sent.outcome == "answered", sent.error
            assert sent.budget is not None
            assert (sent.budget.objective_ms, sent.budget.deadline_ms) == (500, 2000)
    await running.at_rest()


async def test_timeouts_in_a_session(mesh: StartMesh) -> None:
    """None, the least and the most that fit."""
    running = await mesh(nodes=1)
    requests = [
        router_pb2.SessionRequest(id=id, route=ECHO, payload=b"body", timeout_us=timeout_us)
        for id, timeout_us in enumerate((0, 1, 2**32 - 1), start=1)
    ]
    hello = router_pb2.SessionHello(version_min=1, version_max=1)
    async with grpc.aio.insecure_channel(running.router.address) as channel:
        stream: Any = channel.stream_stream("/isochrone.v1.Router/Session", None, None)()
        for frames in (router_pb2.ClientFrames(hello=hello), router_pb2.ClientFrames(requests=requests)):
            await stream.write(frames.SerializeToString())
        answers: dict[int, router_pb2.SessionAnswer] = {}
        while len(answers) < 3:
            told = router_pb2.SessionFrames.FromString(await stream.read())
            answers |= {answer.id: answer for answer in told.answers}
        stream.cancel()
    assert [answers[id].budget.deadline_us for id in (1, 3)] == [2_000_000] * 2
    assert [answers[id].payload for id in (1, 3)] == [b"body"] * 2
    assert type(from_status(status_pb2.Status.FromString(answers[2].status))) is DeadlineExceeded
    await running.at_rest()


async def test_timeouts_of_legs(mesh: StartMesh) -> None:
    """A leg that has none left is missing, and named; one of years has what the page and its route leave it."""
    running = await mesh(nodes=1)
    toy = toy_pb2.ToyMessage(body=new_body())
    page = await running.client().fan_out(
        {
            "none": Leg(SLEEP, toy, timeout_s=0.0),
            "passed": Leg(SLEEP, toy, timeout_s=-1.0),
            "years": Leg(SLEEP, toy, timeout_s=YEARS_S),
            "own": Leg(SLEEP, toy),
        }
    )
    outcomes = {name: leg.outcome for name, leg in page.legs.items()}
    assert outcomes == {
        "none": Outcome.MISSED,
        "passed": Outcome.MISSED,
        "years": Outcome.OK,
        "own": Outcome.OK,
    }
    assert page["years"].budget is not None
    assert page["years"].budget.deadline_ms <= 2000
    await running.at_rest()


async def test_a_deadline_that_no_node_could_meet(mesh: StartMesh, redis: RedisServer) -> None:
    """Refused at once, with the numbers, and never run."""
    running = await mesh(redis=redis, nodes=1, options={"sleep_ms": 300} | ONE_BY_ONE)
    await running.until(goes_through_redis)
    sent = await send(running.client(), timeout_s=0.15)
    assert isinstance(sent.error, Overloaded)
    assert sent.error.reason == "INFEASIBLE_DEADLINE"
    assert "ms with nothing else to do, and has" in str(sent.error)
    assert sent.budget is not None
    assert sent.budget.report.decision.why == "INFEASIBLE_DEADLINE"
    await running.at_rest()
    assert not running.journal.times_run()


@pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: apt-get install faketime)")
async def test_the_wall_clock_jumps_while_requests_wait(mesh: StartMesh, tmp_path: Path) -> None:
    """A year on, and two years back: those that wait are answered, and who comes is admitted as ever."""
    clock = WallClock(tmp_path / "clock")
    # No sleeping on the node: libfaketime breaks clock_nanosleep. Stopped, it keeps jobs waiting all the same.
    running = await mesh(nodes=1, env=clock.env, options={"sleep_ms": 0}, route={"deadline_ms": 10_000})
    client = running.client()
    for years in (1, -1, 0):
        assert (await send(client)).outcome == "answered"
        before = await asyncio.gather(_waiting(running, client), _step(running, clock, years))
        assert {sent.outcome for sent in before[0]} == {"answered"}
        after = await send(client, timeout_s=1.5)
        assert after.outcome == "answered"
        assert after.budget is not None
        assert after.budget.total_ms < 1500
    await running.at_rest()


async def _waiting(running: Mesh, client: Client) -> Any:
    running.nodes[0].send(signal.SIGSTOP)
    return await asyncio.gather(*(send(client, timeout_s=8) for _ in range(8)))


async def _step(running: Mesh, clock: WallClock, years: int) -> None:
    def wait(status: Status) -> bool:
        return bool(status["router"]["inflight"] >= 8)

    await running.until(wait)
    clock.step(years * 365 * 86400)
    running.nodes[0].send(signal.SIGCONT)
