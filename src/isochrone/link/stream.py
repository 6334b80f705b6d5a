"""The stream beneath a link: what both ends need of one, and how gRPC provides it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar, cast

import grpc

from isochrone.v1 import link_pb2

SERVICE, METHOD = "isochrone.v1.Link", "Open"
PATH = f"/{SERVICE}/{METHOD}"

EOF = cast(Any, grpc.aio).EOF
"""What a read gives when the other end has finished."""

_In = TypeVar("_In", covariant=True)
_Out = TypeVar("_Out", contravariant=True)


class FrameStream(Protocol[_In, _Out]):
    """One end of an open stream. gRPC's own call objects are such ends, with nothing in between."""

    async def read(self) -> _In:
        """The next message, or EOF."""

    async def write(self, message: _Out, /) -> None:
        """Sends a message; waits while the other end is slow to take them."""


RouterEnd = FrameStream[link_pb2.NodeFrames, link_pb2.RouterFrames]
NodeEnd = FrameStream[link_pb2.RouterFrames, link_pb2.NodeFrames]


class LinkBroken(ConnectionError):
    """The stream ended with an error, or there was nobody to open one to."""


Dial = Callable[[str], AbstractAsyncContextManager[RouterEnd]]
"""Opens the router's end of a stream to the node at an address. Raises LinkBroken, then and while it is used."""

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a dial of ours is a new connection, not somebody's backoff
    ("grpc.enable_retries", 0),
    # A connection that a network has silently swallowed is given up, and dialled anew.
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
)


@asynccontextmanager
async def dial(address: str) -> AsyncIterator[RouterEnd]:
    """A Dial over gRPC, with a connection of its own."""
    try:
        async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            open_link: Any = channel.stream_stream(
                PATH,
                request_serializer=link_pb2.RouterFrames.SerializeToString,
                response_deserializer=link_pb2.NodeFrames.FromString,
            )
            yield open_link()
    except grpc.aio.AioRpcError as error:
        raise LinkBroken(error.details()) from error
