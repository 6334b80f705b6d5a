"""The gRPC edge: bytes, deadlines and variants in; answers, errors and budgets out. Over real gRPC."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import pytest
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from isochrone.client import Client
from isochrone.deadline import monotonic
from isochrone.embedded import private_folder
from isochrone.errors import Internal, InvalidRequest, Overloaded
from isochrone.rpc import Answered, Call, Health, UnaryEdge, add_reflection, server_options
from isochrone.status import from_status
from isochrone.v1 import budget_pb2

ECHO = "isochrone.testing.v1.Toy/Echo"
RANK = "isochrone.v1.Recsys/Rank"
SOON_S = 10.0

Serve = Callable[[Call], Awaitable[Answered]]


@asynccontextmanager
async def serving(serve: Serve, health: Health | None = None) -> AsyncIterator[str]:
    """A server on a private socket."""
    folder = private_folder()
    server = grpc.aio.server(options=server_options(largest_bytes=2**20))
    server.add_generic_rpc_handlers(tuple(UnaryEdge(serve, clock=monotonic).handlers([ECHO, RANK])))
    if health is not None:
        health.add_to(server)
    add_reflection(server, [ECHO, RANK])
    server.add_insecure_port(f"unix:{folder}/s")
    await server.start()
    try:
        yield f"unix:{folder}/s"
    finally:
        await server.stop(0)
        shutil.rmtree(folder)


async def test_a_call_arrives_as_it_was_made() -> None:
    """Route, bytes, the caller's deadline on our clock, and the variant that it asks for."""
    calls: list[Call] = []

    async def serve(call: Call) -> Answered:
        calls.append(call)
        return Answered(b"answer", budget_pb2.BudgetReport(total_us=1500, lane="toy@cpu"))

    async with serving(serve) as address:
        client = Client(address)
        answer = await client.call(ECHO, b"\x00\xff", timeout_s=5.0, variant="toy")
        await client.call(RANK, b"", timeout_s=5.0)
        await client.close()
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.unary_unary(f"/{ECHO}")(b"no deadline")
    assert answer.payload == b"answer"
    assert answer.budget is not None
    assert (answer.budget.total_ms, answer.budget.lane) == (1.5, "toy@cpu")
    first, second, third = calls
    assert (first.route, first.request, first.variant) == (ECHO, b"\x00\xff", "toy")
    assert first.deadline_s is not None
    assert 4.0 < first.deadline_s - first.received_s <= 5.0
    assert (second.route, second.variant) == (RANK, None)
    assert third.deadline_s is None


async def test_an_error_leaves_with_its_details_and_budget() -> None:
    """In the trailers, where the client library finds them; any other client reads google.rpc.Status."""

    async def serve(call: Call) -> Answered:
        error = Overloaded("full", retry_after_s=0.25)
        error.budget = budget_pb2.BudgetReport(total_us=700)
        raise error

    async with serving(serve) as address:
        client = Client(address)
        with pytest.raises(Overloaded) as caught:
            await client.call(ECHO, b"", timeout_s=SOON_S)
        await client.close()
        assert (caught.value.retry_after_s, caught.value.budget.total_ms) == (0.25, 0.7)
        async with grpc.aio.insecure_channel(address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raw:
                await channel.unary_unary(f"/{ECHO}")(b"")
    assert raw.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raw.value.details() == "full"
    trailers = dict(raw.value.trailing_metadata())
    assert isinstance(from_status(status_pb2.Status.FromString(trailers["grpc-status-details-bin"])), Overloaded)


async def test_what_nobody_foresaw_becomes_an_incident(caplog: pytest.LogCaptureFixture) -> None:
    """Its id goes to the caller, its text to the log and nowhere else."""

    async def serve(call: Call) -> Answered:
        raise LookupError("a secret of ours")

    async with serving(serve) as address:
        client = Client(address)
        with pytest.raises(Internal) as caught:
            await client.call(ECHO, b"", timeout_s=SOON_S)
        await client.close()
    assert "secret" not in caught.value.message
    assert caught.value.incident in caplog.text
    assert "a secret of ours" in caplog.text


async def test_a_caller_that_leaves_cancels_its_call() -> None:
    """Whoever serves it sees that as any task does."""
    entered, left = asyncio.Event(), asyncio.Event()

    async def serve(call: Call) -> Answered:
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        raise AssertionError

    async with serving(serve) as address:
        client = Client(address)
        calling = asyncio.create_task(client.call(ECHO, b"", timeout_s=SOON_S))
        async with asyncio.timeout(SOON_S):
            await entered.wait()
            calling.cancel()
            await left.wait()
        await asyncio.wait([calling])
        await client.close()


async def test_unknown_methods_are_unimplemented() -> None:
    """Of a known service or an unknown one."""

    async def serve(call: Call) -> Answered:
        raise InvalidRequest("never reached")

    async with serving(serve) as address, grpc.aio.insecure_channel(address) as channel:
        for path in ("/isochrone.testing.v1.Toy/Nope", "/nowhere.Service/Method"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary(path)(b"")
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_health_is_told_for_each_route() -> None:
    """And for a service by any of its routes, and overall by any at all."""

    async def serve(call: Call) -> Answered:
        raise AssertionError

    health = Health([ECHO, RANK])
    async with serving(serve, health) as address, grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        async def shown() -> dict[str, bool]:
            names = ("", ECHO, RANK, "isochrone.testing.v1.Toy", "isochrone.v1.Recsys")
            found = {}
            for name in names:
                answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
                found[name] = answer.status == health_pb2.HealthCheckResponse.SERVING
            return found

        await health.show(lambda route: route == ECHO)
        some = await shown()
        assert [name for name, up in some.items() if up] == ["", ECHO, "isochrone.testing.v1.Toy"]
        await health.show(lambda route: False)
        assert not any((await shown()).values())
