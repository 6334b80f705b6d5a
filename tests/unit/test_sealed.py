"""Links within TLS, over real sockets: whole messages, certificates of the mesh at both ends, reasons in words."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import uvloop

from harness.certificates import Certificates
from isochrone.errors import ConfigError
from isochrone.link import sealed
from isochrone.link.stream import EOF, UNREAD_BYTES, LinkBroken, LinkServer, NodeEnd, Untrusted, dial
from isochrone.link.tls import LinkTls
from isochrone.v1 import link_pb2

NAME = "toys"
HELLO = link_pb2.RouterFrames(hello=link_pb2.Hello(name="router"))
ANOTHER_CA = "its certificate is of another CA"
TOLD_SO = "it says that our certificate is of another CA"


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "ours")
    made.make("mesh", NAME)
    return made


@pytest.fixture
def theirs(tmp_path: Path) -> Certificates:
    made = Certificates(tmp_path / "theirs")
    made.make("mesh", NAME)
    return made


def tls(of: Certificates, name: str = "mesh", *, ca: Certificates | None = None) -> LinkTls:
    return LinkTls(certificate=of[f"{name}.crt"], key=of[f"{name}.key"], ca=(ca or of)["ca.crt"], name=NAME)


async def sizes_back(stream: NodeEnd) -> None:
    """Tells the other end how large each of its messages was, until it ends."""
    while (frames := await stream.read()) is not EOF:
        await stream.write(link_pb2.NodeFrames(fetches=[sum(len(each.data) for each in frames.payloads)]))


@asynccontextmanager
async def serving(node: LinkTls | None, listen: str = "127.0.0.1:0") -> AsyncIterator[str]:
    server = LinkServer(sizes_back, tls=node)
    try:
        yield await server.start(listen)
    finally:
        await server.close()


def payload(size: int) -> link_pb2.RouterFrames:
    return link_pb2.RouterFrames(payloads=[link_pb2.Payload(job=1, data=bytes(size))])


async def refusal(address: str, router: LinkTls | None) -> str:
    """Why a router gets no link: as the exception has it, or the node's welcome."""
    try:
        async with dial(address, tls=router) as stream:
            await stream.write(HELLO)
            first = await stream.read()
            return "it ended" if first is EOF else str(first.welcome.refusal)
    except LinkBroken as error:
        return str(error)


async def test_messages_arrive_whole_and_in_order(ours: Certificates) -> None:
    """From a few bytes to far more than a record, or than is taken unread."""
    sizes = [0, 1, 100, 20_000, 3_000_000, 2 * UNREAD_BYTES, 5]
    async with serving(tls(ours)) as address, dial(address, tls=tls(ours)) as stream:
        for size in sizes:
            await stream.write(payload(size))
        assert [(await stream.read()).fetches[0] for _ in sizes] == sizes


async def test_an_end_is_an_end(ours: Certificates) -> None:
    """What was written before it arrives; then comes EOF, and no error."""
    heard: asyncio.Queue[object] = asyncio.Queue()

    async def listen(stream: NodeEnd) -> None:
        while (frames := await stream.read()) is not EOF:
            heard.put_nowait(len(frames.payloads[0].data))
        heard.put_nowait(EOF)

    server = LinkServer(listen, tls=tls(ours))
    address = await server.start("127.0.0.1:0")
    async with dial(address, tls=tls(ours)) as stream:
        await stream.write(payload(0))
        await stream.write(payload(1_000_000))
    async with asyncio.timeout(10):
        assert [await heard.get() for _ in range(3)] == [0, 1_000_000, EOF]
    await server.close()


async def test_a_unix_socket_has_none(ours: Certificates, tmp_path: Path) -> None:
    """The kernel guards it; both ends know by the address."""
    listen = f"unix:{tmp_path}/link"
    async with serving(tls(ours), listen), dial(listen, tls=tls(ours)) as stream:
        await stream.write(payload(7))
        assert (await stream.read()).fetches == [7]
    async with serving(None, listen), dial(listen, tls=tls(ours)) as stream:
        await stream.write(payload(7))
        assert (await stream.read()).fetches == [7]


async def test_both_ends_are_of_the_mesh(ours: Certificates, theirs: Certificates) -> None:
    """Who isn't, is told: another CA, expired, not valid yet, a caller's certificate, which has another name."""
    ours.expired("late", NAME)
    ours.make("early", NAME, began_days_ago=-5)
    ours.make("shop", "shop")
    good = tls(ours)
    async with serving(good) as address:
        assert await refusal(address, tls(theirs)) == ANOTHER_CA
        assert await refusal(address, tls(theirs, ca=ours)) == TOLD_SO
        assert await refusal(address, tls(ours, "late")) == "it says that our certificate has expired"
        assert await refusal(address, tls(ours, "shop")) == "your certificate does not name 'toys'; it names shop"
        assert "certificate" in await refusal(address, tls(ours, "early"))
    for name, told in {
        "late": "its certificate has expired",
        "early": "its certificate is not valid yet",
        "shop": "its certificate does not name 'toys'",
    }.items():
        async with serving(tls(ours, name)) as address:
            assert await refusal(address, good) == told


def test_the_loop_of_processes(ours: Certificates, theirs: Certificates) -> None:
    """uvloop calls protocols in its own way; to a link it is all the same."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_messages_arrive_whole_and_in_order(ours))
        runner.run(test_an_end_is_an_end(ours))
        runner.run(test_both_ends_are_of_the_mesh(ours, theirs))


async def test_one_end_without_tls(ours: Certificates, caplog: pytest.LogCaptureFixture) -> None:
    """The end that has it says so; the other hears of it where it can."""
    async with serving(tls(ours)) as address:
        assert await refusal(address, None) in ("it speaks TLS, and mesh_tls is not configured here", "it ended")
    assert "it speaks no TLS; is mesh_tls configured there?" in caplog.text
    async with serving(None) as address:
        told = await refusal(address, tls(ours))
        assert told == "it hung up before it had shown a certificate" or "reset" in told


async def test_a_refusal_is_logged_once_a_host(
    ours: Certificates, theirs: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """Until the reason changes, or a link of that host was fine: a router dials every second."""
    ours.expired("late", NAME)
    said = f"refused a link from 127.0.0.1: {ANOTHER_CA}"
    with caplog.at_level(logging.WARNING):
        async with serving(tls(ours)) as address:
            for _ in range(3):
                await refusal(address, tls(theirs, ca=ours))
            assert caplog.messages == [said]
            await refusal(address, tls(ours, "late"))
            assert caplog.messages == [said, "refused a link from 127.0.0.1: its certificate has expired"]
            async with dial(address, tls=tls(ours)) as stream:
                await stream.write(payload(1))
                await stream.read()
            await refusal(address, tls(theirs, ca=ours))
            assert caplog.messages[2:] == [said]


async def test_who_says_nothing_is_cut_off(ours: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that shows no certificate is not kept."""
    monkeypatch.setattr(sealed, "HANDSHAKE_S", 0.05)
    async with serving(tls(ours)) as address:
        host, _, port = address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        async with asyncio.timeout(10):
            with suppress(ConnectionResetError):
                assert not await reader.read()
        writer.close()


async def test_new_files_are_for_the_next_link(ours: Certificates, theirs: Certificates) -> None:
    """Those that there are live on; half a pair, or none at all, changes nothing."""
    node, router = tls(ours), tls(ours)
    async with serving(node) as address, dial(address, tls=router) as early:
        ours["mesh.key"].write_bytes(theirs["mesh.key"].read_bytes())
        async with dial(address, tls=router) as stream:
            await stream.write(payload(1))
            assert (await stream.read()).fetches == [1]
        ours["mesh.key"].unlink()
        async with dial(address, tls=router) as stream:
            await stream.write(payload(1))
            assert (await stream.read()).fetches == [1]
        for name in ("ca.crt", "mesh.crt", "mesh.key"):
            ours[name].write_bytes(theirs[name].read_bytes())
        async with dial(address, tls=tls(theirs)) as stream:
            await stream.write(payload(1))
            assert (await stream.read()).fetches == [1]
        await early.write(payload(2))
        assert (await early.read()).fetches == [2]


def test_files_that_cannot_be_used_at_start(ours: Certificates, theirs: Certificates) -> None:
    """Then there is nothing to go on with."""
    for wrong in (ours["none.key"], theirs["mesh.key"], ours["ca.crt"]):
        with pytest.raises(ConfigError, match="mesh_tls: "):
            LinkTls(certificate=ours["mesh.crt"], key=wrong, ca=ours["ca.crt"], name=NAME)


async def test_a_refusal_is_a_kind_of_broken_link(ours: Certificates, theirs: Certificates) -> None:
    """Which a router tells from a node that is away."""
    async with serving(tls(ours)) as address:
        with pytest.raises(Untrusted):
            async with dial(address, tls=tls(theirs)):
                raise AssertionError("linked")
