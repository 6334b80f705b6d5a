"""What callers see when the mesh refuses, is late, or is gone."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest

from isochrone.client import Client, User
from isochrone.errors import (
    Cancelled,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidRequest,
    IsochroneError,
    Overloaded,
    Unauthenticated,
    Unavailable,
    UnknownRoute,
    UnknownVariant,
)
from isochrone.status import to_status
from isochrone.v1 import budget_pb2

_CODES = {code.value[0]: code for code in grpc.StatusCode}

ERRORS = [
    InvalidRequest("two are wrong", violations=[FieldViolation("user.dense[3]", "is NaN")]),
    UnknownRoute("no such method"),
    UnknownVariant("no ranker.int8 here"),
    DeadlineExceeded("15 ms are over"),
    Cancelled("the caller went away"),
    Overloaded("lane is full", retry_after_s=0.25),
    Overloaded("too many bytes under way", retry_after_s=0.5, reason="BYTE_CAP"),
    Unavailable("no node serves it"),
    Internal("f00d"),
]


def _refusing(error: IsochroneError, report: budget_pb2.BudgetReport | None = None) -> Any:
    async def behaviour(_payload: bytes, context: Any) -> bytes:
        status = to_status(error)
        trailers = [("grpc-status-details-bin", status.SerializeToString())]
        if report is not None:
            trailers.append(("isochrone-budget-bin", report.SerializeToString()))
        await context.abort(_CODES[status.code], error.message, tuple(trailers))
        raise AssertionError("abort raises")

    return behaviour


@pytest.mark.parametrize("sent", ERRORS, ids=lambda error: error.reason)
async def test_each_error_arrives_as_the_type_it_left_as(serve: Any, connect: Any, sent: IsochroneError) -> None:
    """Type, message, reason and whatever else the kind carries survive the way."""
    with pytest.raises(type(sent)) as caught:
        await connect(await serve(_refusing(sent))).call("a.B/C", b"")
    error: Any = caught.value
    assert (type(error), error.message, error.reason) == (type(sent), sent.message, sent.reason)
    for extra in ("violations", "retry_after_s", "incident"):
        assert getattr(error, extra, None) == getattr(sent, extra, None)
    assert error.budget is None
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_a_refusal_carries_its_budget(serve: Any, connect: Any) -> None:
    """Failures say where the time went as answers do."""
    report = budget_pb2.BudgetReport(total_us=16_000, missed=True)
    with pytest.raises(DeadlineExceeded) as caught:
        await connect(await serve(_refusing(ERRORS[3], report))).call("a.B/C", b"")
    budget = caught.value.budget
    assert (budget.total_ms, budget.missed) == (16.0, True)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.ABORTED, Unavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, Overloaded),
        (grpc.StatusCode.UNKNOWN, Internal),
        (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
    ],
)
async def test_a_bare_code_becomes_the_nearest_error(
    serve: Any, connect: Any, code: grpc.StatusCode, kind: type[IsochroneError]
) -> None:
    """Proxies and gRPC send codes without details; details of another code, or garbage, are ignored."""
    details = [None, to_status(ERRORS[2]).SerializeToString(), b"\xff\xff\xff"]

    async def behaviour(_payload: bytes, context: Any) -> bytes:
        sent = details.pop()
        trailers = () if sent is None else (("grpc-status-details-bin", sent),)
        await context.abort(code, "from a proxy", trailers)
        raise AssertionError("abort raises")

    client = connect(await serve(behaviour))
    while details:
        with pytest.raises(kind, match="from a proxy"):
            await client.call("a.B/C", b"")


async def test_the_timeout_is_the_deadline_that_the_server_sees(serve: Any, connect: Any) -> None:
    """It travels with the request; where none is given, the client's own does."""
    seen = []

    async def behaviour(payload: bytes, context: Any) -> bytes:
        seen.append(context.time_remaining())
        return payload

    client = connect(await serve(behaviour), timeout_s=30)
    await client.call("a.B/C", b"", timeout_s=5)
    await client.call("a.B/C", b"")
    # gRPC rounds a timeout up on the wire, to three digits.
    assert 4 < seen[0] < 5.1
    assert 29 < seen[1] < 30.2


async def test_a_server_that_never_answers_costs_the_timeout_and_no_more(serve: Any, connect: Any) -> None:
    """The client itself gives up at the deadline, with the error that the mesh would have given."""

    async def behaviour(_payload: bytes, _context: Any) -> bytes:
        await asyncio.sleep(60)
        return b""

    client = connect(await serve(behaviour))
    start_s = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="no answer within the deadline") as caught:
        await client.call("a.B/C", b"", timeout_s=0.1)
    assert time.monotonic() - start_s < 5
    assert caught.value.budget is None


async def test_nobody_there_is_unavailable(connect: Any) -> None:
    """A closed port fails at once and may be tried again; that there is no node is not for the client to say."""
    with pytest.raises(Unavailable) as caught:
        await connect("127.0.0.1:1").rank(User([], []), [1], timeout_s=5)
    assert caught.value.may_retry
    assert caught.value.reason == "CONNECTION_LOST"


async def test_cancelling_the_task_cancels_the_request_at_the_server(serve: Any) -> None:
    """A caller that goes away takes its work with it."""
    arrived, cancelled = asyncio.Event(), asyncio.Event()

    async def behaviour(_payload: bytes, _context: Any) -> bytes:
        arrived.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return b""

    async with Client(await serve(behaviour)) as client:
        task = asyncio.create_task(client.call("a.B/C", b""))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(cancelled.wait(), timeout=5)


async def test_closing_the_client_lets_requests_finish_within_its_grace(serve: Any) -> None:
    """What ends in time is answered; what doesn't raises Cancelled, not the CancelledError of a task."""
    release = asyncio.Event()

    async def behaviour(payload: bytes, _context: Any) -> bytes:
        await asyncio.wait_for(release.wait(), 60)
        return payload

    target = await serve(behaviour)
    for grace_s, freed in [(5.0, True), (0.05, False)]:
        release.clear()
        client = Client(target)
        task = asyncio.create_task(client.call("a.B/C", b"x"))
        await asyncio.sleep(0.05)
        closing = asyncio.create_task(client.close(grace_s=grace_s))
        await asyncio.sleep(0)
        if freed:
            release.set()
            assert (await task).payload == b"x"
        else:
            with pytest.raises(Cancelled, match="closed while"):
                await task
        await closing
    release.set()


async def test_a_client_survives_its_server(serve: Any, connect: Any) -> None:
    """One that is restarted on the same port is found again within the backoff of two seconds."""

    async def behaviour(payload: bytes, _context: Any) -> bytes:
        return payload

    class Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(behaviour)

    async def start(port: int) -> tuple[grpc.aio.Server, int]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((Everything(),))
        bound = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        return server, bound

    server, port = await start(0)
    client = connect(f"127.0.0.1:{port}")
    await client.call("a.B/C", b"")
    await server.stop(0)
    with pytest.raises(Unavailable):
        await client.call("a.B/C", b"", timeout_s=2)
    server, _ = await start(port)
    give_up_s = time.monotonic() + 10
    while True:
        try:
            await client.call("a.B/C", b"", timeout_s=2)
            break
        except Unavailable:
            assert time.monotonic() < give_up_s
            await asyncio.sleep(0.05)
    await server.stop(0)
