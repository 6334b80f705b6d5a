"""The load generator's own HTTP/2, against gRPC's real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from bench.unary_http2 import Connection
from google.rpc import code_pb2


class _Server(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Echoes as many bytes as it gets, remembers them, and fails requests that name a status."""

    def __init__(self) -> None:
        self.seen: list[tuple[bytes, float]] = []
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((self,))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"

    def service(self, handler_call_details: Any) -> Any:
        assert handler_call_details.method == "/a.B/C"
        return grpc.unary_unary_rpc_method_handler(self._answer)

    async def _answer(self, message: bytes, context: Any) -> bytes:
        self.seen.append((message, context.time_remaining()))
        if message in (b"NOT_FOUND", b"RESOURCE_EXHAUSTED"):
            trailers = (("isochrone-budget-bin", bytes(range(200))),)
            await context.abort(grpc.StatusCode[message.decode()], "as you wish", trailers)
        context.set_trailing_metadata((("isochrone-budget-bin", bytes(range(200))),))
        return message


@pytest.fixture
async def server() -> AsyncIterator[_Server]:
    server = _Server()
    await server.server.start()
    yield server
    await server.server.stop(0)


async def test_a_call_arrives_with_its_deadline_and_is_answered(server: _Server) -> None:
    """The server sees message and timeout as from any other client."""
    connection = await Connection.open(server.address)
    assert await connection.call("/a.B/C", b"hello", timeout_s=3) == code_pb2.OK
    [(message, remaining_s)] = server.seen
    assert message == b"hello"
    assert 2 < remaining_s < 3.1
    connection.close()


async def test_a_refusal_gives_its_status_whatever_else_is_in_the_trailers(server: _Server) -> None:
    """Only the code is read; messages and binary trailers are passed over."""
    connection = await Connection.open(server.address)
    for name in ("NOT_FOUND", "RESOURCE_EXHAUSTED"):
        assert await connection.call("/a.B/C", name.encode(), timeout_s=3) == code_pb2.Code.Value(name)
    connection.close()


async def test_many_large_calls_at_once_wait_for_the_servers_window(server: _Server) -> None:
    """A hundred bodies of 60 kB are far more than a connection takes unasked; all arrive whole."""
    connection = await Connection.open(server.address)
    bodies = [bytes([number]) * 60_000 for number in range(100)]
    statuses = await asyncio.gather(*(connection.call("/a.B/C", body, timeout_s=20) for body in bodies))
    assert set(statuses) == {code_pb2.OK}
    assert sorted(message for message, _ in server.seen) == bodies
    with pytest.raises(ValueError, match="more than a stream's window"):
        connection.call("/a.B/C", bytes(70_000), timeout_s=1)
    connection.close()


async def test_a_lost_connection_answers_unavailable_and_does_not_spin(server: _Server) -> None:
    """Calls under way and calls after it."""
    connection = await Connection.open(server.address)
    under_way = connection.call("/a.B/C", b"hello", timeout_s=3)
    connection.close()
    assert await asyncio.wait_for(under_way, 5) == code_pb2.UNAVAILABLE
    later = connection.call("/a.B/C", b"hello", timeout_s=3)
    assert not later.done()
    assert await asyncio.wait_for(later, 5) == code_pb2.UNAVAILABLE
