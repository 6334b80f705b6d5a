"""The stream beneath a link, over real sockets: whole messages, in order, and nobody who speaks something else."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from isochrone.link.stream import EOF, FIRST_BYTES, UNREAD_BYTES, LinkBroken, LinkServer, NodeEnd, dial
from isochrone.v1 import link_pb2

HELLO = link_pb2.RouterFrames(hello=link_pb2.Hello(name="router"))
Serve = Callable[[NodeEnd], Awaitable[None]]


def payload(size: int, job: int = 1) -> link_pb2.RouterFrames:
    return link_pb2.RouterFrames(payloads=[link_pb2.Payload(job=job, data=bytes(size))])


@asynccontextmanager
async def serving(serve: Serve, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = LinkServer(serve)
    address = await server.start(listen)
    try:
        yield address
    finally:
        await server.close()


async def sizes_back(stream: NodeEnd) -> None:
    """Tells the other end how large each of its messages was, until it ends."""
    while (frames := await stream.read()) is not EOF:
        await stream.write(link_pb2.NodeFrames(fetches=[sum(len(each.data) for each in frames.payloads)]))


@pytest.mark.parametrize("kind", ["127.0.0.1", "[::1]", "unix"])
async def test_messages_arrive_whole_and_in_order(kind: str, tmp_path: Path) -> None:
    """From a few bytes to far more than a socket takes at once, over TCP and Unix sockets."""
    listen = f"unix:{tmp_path}/link" if kind == "unix" else f"{kind}:0"
    sizes = [0, 1, 100, 70_000, 3_000_000, 5]
    async with serving(sizes_back, listen) as address, dial(address) as stream:
        await stream.write(HELLO)
        for size in sizes:
            await stream.write(payload(size))
        assert [(await stream.read()).fetches[0] for _ in range(len(sizes) + 1)] == [0, *sizes]


async def test_a_message_may_come_byte_by_byte() -> None:
    """However the network cuts it."""
    data = HELLO.SerializeToString()
    wire = struct.pack(">I", len(data)) + data
    async with serving(sizes_back) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        for _ in range(2):
            for byte in wire:
                writer.write(bytes((byte,)))
                await writer.drain()
                await asyncio.sleep(0)
            (size,) = struct.unpack(">I", await reader.readexactly(4))
            assert link_pb2.NodeFrames.FromString(await reader.readexactly(size)).fetches == [0]
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "said",
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack(">I", FIRST_BYTES + 1),
        b"\0\0\0\3\xff\xff\xff",
    ],
)
async def test_who_speaks_something_else_is_cut_off(said: bytes) -> None:
    """At its first bytes, before anything is kept of it."""
    async with serving(sizes_back) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(said)
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        with suppress(ConnectionResetError):
            await writer.wait_closed()


async def test_a_router_that_dials_something_else_says_so() -> None:
    """An HTTP server, say."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, dial(f"127.0.0.1:{server.sockets[0].getsockname()[1]}") as stream:
        await stream.write(HELLO)
        with pytest.raises(LinkBroken, match="no link"):
            await stream.read()


async def test_nobody_there() -> None:
    """As an error of the link, with the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(LinkBroken, match=address):
        async with dial(address):
            pass


async def test_an_end_that_leaves_is_an_eof_and_one_that_is_cut_off_may_not_be() -> None:
    """What was on its way still arrives."""

    async def one_and_away(stream: NodeEnd) -> None:
        await stream.read()
        await stream.write(link_pb2.NodeFrames(drain=True))

    async with serving(one_and_away) as address, dial(address) as stream:
        await stream.write(HELLO)
        assert (await stream.read()).drain
        assert await stream.read() is EOF
        with pytest.raises(LinkBroken):
            await stream.write(HELLO)


async def test_a_reader_that_does_not_read_slows_the_writer_down() -> None:
    """What lies unread is bounded; nothing is lost once it reads again."""
    go_on = asyncio.Event()
    read: list[int] = []

    async def late_reader(stream: NodeEnd) -> None:
        await go_on.wait()
        while (frames := await stream.read()) is not EOF:
            read.extend(each.job for each in frames.payloads)
        done.set()

    done = asyncio.Event()
    written: list[int] = []

    async def write_all() -> None:
        async with dial(address) as stream:
            await stream.write(HELLO)
            for job in range(100):
                await stream.write(payload(1_000_000, job))
                written.append(job)

    async with serving(late_reader) as address:
        writing = asyncio.create_task(write_all())
        before = -1
        while len(written) != before:  # until it stands still
            before = len(written)
            await asyncio.sleep(0.2)
        assert len(written) * 1_000_000 < 20 * UNREAD_BYTES, "sockets hold some, we hold little"
        assert len(written) < 100
        go_on.set()
        await writing
        await done.wait()
    assert read == list(range(100))
