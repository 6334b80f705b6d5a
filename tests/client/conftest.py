"""A real gRPC server that does what a test says, and both clients behind one awaitable face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from isochrone.client import Answer, Client, Ranking, SyncClient

Behaviour = Callable[[bytes, Any], Awaitable[bytes]]
"""What the server does with a request and its gRPC context."""


class _Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method == "/isochrone.v1.Router/Session":
            return None  # as a node, which has none
        return grpc.unary_unary_rpc_method_handler(self._behaviour)


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Behaviour], Awaitable[str]]]:
    """Starts a server and gives its address."""
    servers = []

    async def start(behaviour: Behaviour) -> str:
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 * 2**20)])
        server.add_generic_rpc_handlers((_Everything(behaviour),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return f"127.0.0.1:{port}"

    yield start
    for server in servers:
        await server.stop(0)


class Blocking:
    """A SyncClient, each call of which runs in a thread of its own."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    async def rank(self, *args: Any, **kwargs: Any) -> Ranking:
        return await asyncio.to_thread(self._client.rank, *args, **kwargs)

    async def call(self, *args: Any, **kwargs: Any) -> Answer:
        return await asyncio.to_thread(self._client.call, *args, **kwargs)

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)


@pytest.fixture(params=["async", "sync"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Callable[..., Client | Blocking]]:
    """Makes a client; every test that asks for it runs with the asyncio and with the blocking one."""
    clients: list[Client | Blocking] = []

    def make(target: str, **kwargs: Any) -> Client | Blocking:
        client = Client(target, **kwargs) if request.param == "async" else Blocking(SyncClient(target, **kwargs))
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.close()
