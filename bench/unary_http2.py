"""Unary gRPC calls with the least of HTTP/2 that they need, so that sending load costs next to nothing.

gRPC's own Python client takes about as much CPU for a call as the bare echo server does: on two cores it would be
what limits the rate. This one takes a tenth. It speaks plain-text HTTP/2 to servers that are known to be there
(RFC 9113), never parses a message, and of all headers reads grpc-status alone.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from typing import cast

from google.rpc import code_pb2

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS = 0x1, 0x1, 0x4
_HEADER_TABLE_SIZE, _ENABLE_PUSH, _INITIAL_WINDOW_SIZE, _MAX_FRAME_SIZE = 1, 2, 4, 5
_LARGEST_WINDOW = 2**31 - 1
_DEFAULT_WINDOW, _DEFAULT_FRAME = 65_535, 16_384
_TOP_UP_BYTES = 2**28
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_STATUS_KEY = b"grpc-status"


class Connection(asyncio.Protocol):
    """One connection, with as many calls under way as one likes."""

    def __init__(self, authority: str) -> None:
        self._authority = authority
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._heads: dict[tuple[str, float], bytes] = {}
        self._calls: dict[int, asyncio.Future[int]] = {}
        self._next_stream = 1
        self._out: list[bytes] = []
        self._received = b""
        self._unread_bytes = 0
        self._room_bytes = _DEFAULT_WINDOW
        self._frame_bytes = _DEFAULT_FRAME
        self._held: deque[tuple[bytes, bytes, asyncio.Future[int]]] = deque()
        self._headers: tuple[int, int, bytes] | None = None

    @classmethod
    async def open(cls, address: str) -> Connection:
        """Connects to "host:port". Raises OSError where nobody listens."""
        host, _, port = address.rpartition(":")
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: cls(address), host.strip("[]"), int(port)
        )
        return connection

    def call(self, method: str, message: bytes, *, timeout_s: float) -> asyncio.Future[int]:
        """Sends a request ("/package.Service/Method"). The future gives the answer's gRPC status code.

        A lost connection answers UNAVAILABLE. Raises ValueError for a message of 64 KiB or more.
        """
        answer: asyncio.Future[int] = self._loop.create_future()
        if self._transport is None:
            self._loop.call_soon(_settle, answer, code_pb2.UNAVAILABLE)  # soon: a caller in a loop must not spin on it
            return answer
        head = self._heads.get((method, timeout_s))
        if head is None:
            head = self._heads[method, timeout_s] = self._head(method, timeout_s)
        body = struct.pack(">BI", 0, len(message)) + message  # gRPC's prefix: not compressed, so many bytes
        if len(body) > _DEFAULT_WINDOW:
            raise ValueError(f"{len(message)} bytes: more than a stream's window takes at once")
        if self._held or len(body) > self._room_bytes:
            self._held.append((head, body, answer))  # until the server has taken in more of what it got
        else:
            self._send(head, body, answer)
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _send(self, head: bytes, body: bytes, answer: asyncio.Future[int]) -> None:
        stream, self._next_stream = self._next_stream, self._next_stream + 2
        self._calls[stream] = answer
        self._room_bytes -= len(body)
        self._write(_frame(_HEADERS, _END_HEADERS, stream, head))
        while len(body) > self._frame_bytes:
            self._write(_frame(_DATA, 0, stream, body[: self._frame_bytes]))
            body = body[self._frame_bytes :]
        self._write(_frame(_DATA, _END_STREAM, stream, body))

    def _write(self, frame: bytes) -> None:
        """All that one turn of the loop produces goes out in one piece."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(frame)

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._out))
        self._out.clear()

    def _head(self, method: str, timeout_s: float) -> bytes:
        """The header block of a request, in HPACK's plainest form: nothing indexed but what is always the same."""
        timeout = f"{max(1, round(timeout_s * 1e3))}m"
        return b"".join(
            (
                b"\x83\x86",  # :method POST, :scheme http, by their numbers in the static table
                b"\x04" + _text(method),  # :path
                b"\x01" + _text(self._authority),
                b"\x0f\x10" + _text("application/grpc"),  # content-type
                b"\x00" + _text("te") + _text("trailers"),
                b"\x00" + _text("grpc-timeout") + _text(timeout),
            )
        )

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        # Without a table, the server spells every header out; without windows, it never waits for us.
        settings = struct.pack(">HIHIHI", _HEADER_TABLE_SIZE, 0, _ENABLE_PUSH, 0, _INITIAL_WINDOW_SIZE, _LARGEST_WINDOW)
        widen = struct.pack(">I", _LARGEST_WINDOW - _DEFAULT_WINDOW)
        self._transport.write(_PREFACE + _frame(_SETTINGS, 0, 0, settings) + _frame(_WINDOW_UPDATE, 0, 0, widen))

    def data_received(self, data: bytes) -> None:
        data = self._received + data
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">BHBBI", data, at)
            size = high << 16 | low
            if end - at - 9 < size:
                break
            self._take(kind, flags, stream, data, at + 9, size)
            at += 9 + size
        self._received = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for answer in (*self._calls.values(), *(answer for _, _, answer in self._held)):
            _settle(answer, code_pb2.UNAVAILABLE)
        self._calls.clear()
        self._held.clear()

    def _take(self, kind: int, flags: int, stream: int, data: bytes, at: int, size: int) -> None:
        if kind == _DATA:
            self._unread_bytes += size
            if self._unread_bytes > _TOP_UP_BYTES:
                self._write(_frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", self._unread_bytes)))
                self._unread_bytes = 0
        elif kind == _HEADERS:
            self._take_headers(stream, flags, flags, data[at : at + size])
        elif kind == _CONTINUATION and self._headers is not None:
            begun, opening_flags, block = self._headers
            self._take_headers(begun, opening_flags, flags, block + data[at : at + size])
        elif kind == _RST_STREAM:
            self._end(stream, code_pb2.UNAVAILABLE)
        elif kind == _SETTINGS and not flags & _ACK:
            for place in range(at, at + size, 6):
                name, value = struct.unpack_from(">HI", data, place)
                if name == _MAX_FRAME_SIZE:
                    self._frame_bytes = value
            self._write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self._write(_frame(_PING, _ACK, 0, data[at : at + size]))
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._room_bytes += int(struct.unpack_from(">I", data, at)[0])
            while self._held and len(self._held[0][1]) <= self._room_bytes:
                self._send(*self._held.popleft())
        elif kind == _GOAWAY:
            self.close()

    def _take_headers(self, stream: int, opening_flags: int, flags: int, block: bytes) -> None:
        if not flags & _END_HEADERS:
            self._headers = (stream, opening_flags, block)
            return
        self._headers = None
        if opening_flags & _END_STREAM:
            self._end(stream, _status_in(block))

    def _end(self, stream: int, status: int) -> None:
        answer = self._calls.pop(stream, None)
        if answer is not None:
            _settle(answer, status)


def _settle(answer: asyncio.Future[int], status: int) -> None:
    if not answer.done():
        answer.set_result(status)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    size = len(payload)
    return struct.pack(">BHBBI", size >> 16, size & 0xFFFF, kind, flags, stream) + payload


def _text(text: str) -> bytes:
    """A string as HPACK has it, without Huffman's code. Raises ValueError for one of 127 bytes or more."""
    data = text.encode("ascii")
    if len(data) >= 127:
        raise ValueError(f"too long for a header here: {text!r}")
    return bytes((len(data),)) + data


def _status_in(block: bytes) -> int:
    """The gRPC status in a block of trailers. Raises ValueError where it isn't spelt out: not a gRPC server."""
    at = block.find(_STATUS_KEY)
    if at < 0:
        raise ValueError("trailers without a readable grpc-status")
    at += len(_STATUS_KEY)
    return int(block[at + 1 : at + 1 + block[at]])
