"""Real gRPC servers that do what a test says, and both clients behind one awaitable face."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest

from harness.by_hand import ByHand
from isochrone.client import Client, SyncClient
from isochrone.deadline import monotonic
from isochrone.methods import streams
from isochrone.rpc import Call, UnaryEdge
from isochrone.starting import Chunks, Done, Leave
from isochrone.stream_edge import StreamEdge
from isochrone.tracing import Sampler
from isochrone_router.front import FAN_OUT_STREAM, Front
from isochrone_router.past import Tell
from isochrone_router.session import Sessions, Window

SESSION = "/isochrone.v1.Router/Session"

Behaviour = Callable[[bytes, Any], Awaitable[bytes]]
"""What the server does with a request and its gRPC context."""


class _Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method == SESSION:
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


class Edge(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """A router's own, for any route; the requests come out at `start`, to be answered by hand."""

    def __init__(self, *, with_sessions: bool, window: Window) -> None:
        self.start = ByHand()
        front = Front(self._start, sampler=Sampler(0), tell=lambda past: None, clock=monotonic)
        self.sessions = Sessions(front.start, name="by hand", window=window, clock=monotonic)
        self.rpcs: list[str] = []
        """Routes of requests that came as RPCs of their own."""
        self._with_sessions = with_sessions
        self._unary = UnaryEdge(front.serve, clock=monotonic)
        self._stream = StreamEdge(front.start, clock=monotonic)

    def _start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        return self.start(call, done, chunks)

    def service(self, handler_call_details: Any) -> Any:
        route = handler_call_details.method.removeprefix("/")
        if handler_call_details.method == SESSION:
            return self.sessions.handler() if self._with_sessions else None
        self.rpcs.append(route)
        return (self._stream if streams(route) or route == FAN_OUT_STREAM else self._unary).handler(route)


@dataclass
class Router:
    """A router that has nothing but its edge."""

    edge: Edge
    server: grpc.aio.Server
    target: str
    clients: list[Any] = field(default_factory=list)

    @property
    def start(self) -> ByHand:
        return self.edge.start

    def client(self, *, blocks: bool = False, **options: Any) -> Any:
        """One that is closed with the router."""
        client = Blocking(SyncClient(self.target, **options)) if blocks else Client(self.target, **options)
        self.clients.append(client)
        return client

    async def close(self) -> None:
        for client in self.clients:
            await client.close()
        await self.server.stop(0)


StartRouter = Callable[..., Awaitable[Router]]


@pytest.fixture
async def router() -> AsyncIterator[StartRouter]:
    """Starts a router."""
    routers = []

    async def start(*, with_sessions: bool = True, window: Window | None = None) -> Router:
        edge = Edge(with_sessions=with_sessions, window=window or Window())
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((edge,))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        routers.append(Router(edge, server, f"127.0.0.1:{port}"))
        return routers[-1]

    yield start
    for each in routers:
        await each.close()


@pytest.fixture(params=["sessions", "no sessions", "blocking"])
async def served(request: pytest.FixtureRequest, router: StartRouter) -> tuple[Router, Any]:
    """A router and a client of it; every test that asks for it runs once for each way that requests travel."""
    at = await router(with_sessions=request.param != "no sessions")
    return at, at.client(blocks=request.param == "blocking")


class Blocking:
    """A SyncClient, each call of which runs in a thread of its own."""

    def __init__(self, client: SyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        if name in ("stream", "generate", "fan_out_stream"):
            return lambda *args, **options: BlockingStream(method(*args, **options))

        async def call(*args: Any, **options: Any) -> Any:
            return await asyncio.to_thread(method, *args, **options)

        return call


@pytest.fixture
def blocking() -> Callable[[SyncClient], Blocking]:
    """Puts the awaitable face before a SyncClient."""
    return Blocking


class BlockingStream:
    """A SyncChunkStream, each step of which runs in a thread of its own."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __aiter__(self) -> BlockingStream:
        return self

    async def __anext__(self) -> Any:
        chunk = await asyncio.to_thread(next, self._stream, self)
        if chunk is self:
            raise StopAsyncIteration
        return chunk

    async def aclose(self) -> None:
        await asyncio.to_thread(self._stream.close)

    async def __aenter__(self) -> BlockingStream:
        await asyncio.to_thread(self._stream.__enter__)
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await asyncio.to_thread(self._stream.__exit__, *raised)

    @property
    def budget(self) -> Any:
        return self._stream.budget


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
