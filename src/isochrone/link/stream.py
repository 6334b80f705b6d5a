"""The stream beneath a link: length-prefixed protobuf messages over a TCP or Unix connection of its own.

Each message goes out behind its size as four bytes, big end first; over TCP within TLS, where that is configured.
Why this is no gRPC stream, and what that saves: docs/decisions/006-links-on-sockets.md.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import struct
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Generic, Protocol, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from isochrone import sockets
from isochrone.link.sealed import LinkBroken, Sealed, Untrusted
from isochrone.link.tls import LinkTls
from isochrone.v1 import link_pb2

__all__ = ["EOF", "Dial", "FrameStream", "LinkBroken", "LinkServer", "NodeEnd", "RouterEnd", "Untrusted", "dial"]

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_In_co = TypeVar("_In_co", covariant=True)
_Out_contra = TypeVar("_Out_contra", contravariant=True)
_M = TypeVar("_M", bound=Message)

log = logging.getLogger(__name__)

CONNECT_S = 5.0
FLUSH_S = 1.0
FIRST_BYTES = 64 * 1024
"""The most that a Hello or Welcome has. Who speaks something else here, HTTP/2 say, exceeds it at once."""
MESSAGE_BYTES = 2**29
UNREAD_BYTES = 2**22
"""Past so many bytes that came and weren't read, the other end is kept from sending more."""

_SIZE = struct.Struct(">I")
_TLS_RECORDS = (b"\x15\x03", b"\x16\x03")
"""How an alert begins, and a handshake."""
_TOLD_MOST = 256


class _Eof(enum.Enum):
    EOF = enum.auto()


EOF: Final = cast(Any, _Eof.EOF)
"""What a read gives when the other end has finished."""


class FrameStream(Protocol[_In_co, _Out_contra]):
    """One end of an open stream."""

    async def read(self) -> _In_co:
        """The next message, or EOF. Raises LinkBroken."""

    async def write(self, message: _Out_contra, /) -> None:
        """Sends a message; waits while the other end is slow to take them. Raises LinkBroken."""


RouterEnd = FrameStream[link_pb2.NodeFrames, link_pb2.RouterFrames]
NodeEnd = FrameStream[link_pb2.RouterFrames, link_pb2.NodeFrames]


Dial = Callable[[str], AbstractAsyncContextManager[RouterEnd]]
"""Opens the router's end of a stream to the node at an address. Raises LinkBroken, then and while it is used."""


class MessageStream(asyncio.Protocol, Generic[_In, _Out]):
    """A FrameStream on a connection."""

    def __init__(self, parse: Callable[[bytes], _In]) -> None:
        self._parse = parse
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._arrived: deque[tuple[int, _In]] = deque()
        self._unread_bytes = 0
        self._part = bytearray()
        self._most_bytes = FIRST_BYTES
        self._ended: LinkBroken | _Eof | None = None
        self._lost: asyncio.Future[None] = self._loop.create_future()
        self._reader: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<MessageStream {'open' if self._ended is None else 'ended'}, {len(self._arrived)} unread>"

    async def read(self) -> _In:
        while not self._arrived:
            if isinstance(self._ended, LinkBroken):
                raise self._ended
            if self._ended is not None:
                return cast(_In, EOF)
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        size, message = self._arrived.popleft()
        if self._unread_bytes > UNREAD_BYTES >= self._unread_bytes - size and self._transport is not None:
            self._transport.resume_reading()
        self._unread_bytes -= size
        return message

    async def write(self, message: _Out, /) -> None:
        if self._transport is None or self._ended is not None:
            raise self._ended if isinstance(self._ended, LinkBroken) else LinkBroken("the other end is gone")
        data = cast(Message, message).SerializeToString()
        self._transport.write(_SIZE.pack(len(data)) + data)
        if self._room is not None:
            await asyncio.shield(self._room)

    async def close(self) -> None:
        """Ends the stream once what was written has left, which the other end may delay for a moment only."""
        transport = self._transport
        if transport is None:
            return
        transport.close()
        try:
            async with asyncio.timeout(FLUSH_S):
                await asyncio.shield(self._lost)
        except TimeoutError:
            transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        sockets.notice_silence(self._transport)

    def data_received(self, data: bytes) -> None:
        if self._part:
            self._part += data
            data = bytes(self._part) if len(self._part) >= self._wanted_bytes() else b""
        at, end = 0, len(data)
        while end - at >= _SIZE.size:
            (size,) = _SIZE.unpack_from(data, at)
            if size > self._most_bytes:
                if data.startswith(_TLS_RECORDS):
                    return self._break("it speaks TLS, and mesh_tls is not configured here")
                return self._break(f"a message of {size} bytes: no link, or not one of ours")
            if end - at - _SIZE.size < size:
                break
            at += _SIZE.size
            try:
                message = self._parse(data[at : at + size])
            except DecodeError as error:
                return self._break(f"unreadable: {error}")
            at += size
            self._most_bytes = MESSAGE_BYTES
            self._take(size, message)
        if data:
            self._part = bytearray(data[at:])

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost.set_result(None)
        if self._ended is None:
            if exc is not None and not isinstance(exc, LinkBroken):
                exc = LinkBroken(str(exc))
            self._ended = exc or _Eof.EOF
        for waiting in (self._reader, self._room):
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    def pause_writing(self) -> None:
        self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def _take(self, size: int, message: _In) -> None:
        self._arrived.append((size, message))
        if self._unread_bytes <= UNREAD_BYTES < self._unread_bytes + size and self._transport is not None:
            self._transport.pause_reading()
        self._unread_bytes += size
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wanted_bytes(self) -> int:
        """How much has to be there before the message that came in part can be read."""
        if len(self._part) < _SIZE.size:
            return _SIZE.size
        return _SIZE.size + min(int(_SIZE.unpack_from(self._part)[0]), self._most_bytes)

    def _break(self, why: str) -> None:
        self._ended = LinkBroken(why)
        if self._transport is not None:
            self._transport.abort()


def _dialled() -> MessageStream[link_pb2.NodeFrames, link_pb2.RouterFrames]:
    return MessageStream(link_pb2.NodeFrames.FromString)


@asynccontextmanager
async def dial(address: str, *, tls: LinkTls | None = None) -> AsyncIterator[RouterEnd]:
    """A Dial over a connection of its own, with `tls` where it goes over TCP. Raises Untrusted where the ends don't
    believe each other, then or at the first read."""
    try:
        async with asyncio.timeout(CONNECT_S):
            if tls is None or _guarded(address):
                stream = await sockets.connect(address, _dialled)
            else:
                stream = await _sealed(address, tls)
    except LinkBroken:
        raise
    except (OSError, TimeoutError) as error:
        raise LinkBroken(f"{address}: {str(error) or 'no connection in time'}") from error
    try:
        yield stream
    finally:
        await stream.close()


async def _sealed(address: str, tls: LinkTls) -> MessageStream[link_pb2.NodeFrames, link_pb2.RouterFrames]:
    stream = _dialled()
    sealed = await sockets.connect(address, lambda: Sealed(stream, tls, dialling=True))
    try:
        await sealed.shaken
    except BaseException:
        sealed.abort()
        raise
    return stream


def _guarded(address: str) -> bool:
    """Unix sockets are guarded by the kernel: by whom the socket's folder lets in. They go without TLS."""
    return address.startswith("unix:")


class LinkServer:
    """Listens for routers; each one that dials is served by `serve` until that returns."""

    def __init__(self, serve: Callable[[NodeEnd], Awaitable[None]], *, tls: LinkTls | None = None) -> None:
        self._serve = serve
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._told: dict[str, str] = {}
        """By host, why its last connection was refused: said once."""

    async def start(self, listen: str) -> str:
        """Gives the address with the port that was really taken. Raises OSError where it can't be had."""
        if _guarded(listen):
            self._tls = None
        self._server = await sockets.serve(listen, self._new_stream)
        return sockets.bound(self._server, listen)

    async def close(self) -> None:
        """Takes no more routers, and leaves those that are linked."""
        if self._server is not None:
            self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _new_stream(self) -> asyncio.Protocol:
        if self._tls is None:
            return _Accepted(self._accepted)
        sealed = Sealed(stream := _Accepted(lambda stream: None), self._tls, dialling=False)
        self._start(self._shake(sealed, stream, name=self._tls.name))
        return sealed

    def _accepted(self, stream: _Accepted) -> None:
        self._start(self._serve_one(stream))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="serve a link")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _shake(self, sealed: Sealed, stream: _Accepted, *, name: str) -> None:
        """Serves whoever has a certificate of the mesh's CA, and for it: of the CA alone, callers may have one too."""
        try:
            await sealed.shaken
            if name in sealed.names:
                self._told.pop(sealed.host, None)
                return await self._serve_one(stream)
            refusal = f"your certificate does not name {name!r}; it names {', '.join(sealed.names) or 'nobody'}"
            self._tell(sealed.host, f"its certificate does not name {name!r}")
            await stream.write(link_pb2.NodeFrames(welcome=link_pb2.Welcome(refusal=refusal)))
        except Untrusted as error:
            self._tell(sealed.host, str(error))
        except LinkBroken as error:
            log.debug("nobody to link to: %s", error)
        finally:
            await stream.close()

    def _tell(self, host: str, why: str) -> None:
        if self._told.get(host) != why:
            log.warning("refused a link from %s: %s", host, why)
            if len(self._told) >= _TOLD_MOST:
                self._told.clear()
            self._told[host] = why

    async def _serve_one(self, stream: _Accepted) -> None:
        try:
            await self._serve(stream)
        except LinkBroken as error:
            log.debug("a link broke: %s", error)
        finally:
            await stream.close()


class _Accepted(MessageStream[link_pb2.RouterFrames, link_pb2.NodeFrames]):
    """The node's end; it says when it is there."""

    def __init__(self, made: Callable[[_Accepted], None]) -> None:
        super().__init__(link_pb2.RouterFrames.FromString)
        self._made = made

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._made(self)
