"""RespConnection: groups of commands on one connection, answered in the order they were sent."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import hiredis
import pytest
from redis import Redis

from isochrone.config import RedisConfig
from isochrone.embedded import private_folder
from isochrone.errors import ConfigError
from isochrone.resp import RedisAddress, RedisLost, RedisRefused, RespConnection, refuse_errors

SOON_S = 5.0


@pytest.fixture
async def connection(redis_address: RedisAddress) -> AsyncIterator[RespConnection]:
    connection = await RespConnection.open(redis_address, timeout_s=SOON_S)
    yield connection
    connection.close()


@pytest.fixture
def password(redis: Redis) -> Iterator[str]:
    """Redis asks for this from now on."""
    redis.config_set("requirepass", "s3cret")
    yield "s3cret"
    redis.auth("s3cret")
    redis.config_set("requirepass", "")


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
async def pretend() -> AsyncIterator[Callable[[Serve], Awaitable[RedisAddress]]]:
    """Starts something that is no Redis, or a strange one."""
    folders: list[Path] = []
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(serve: Serve) -> RedisAddress:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await serve(reader, writer)

        folders.append(private_folder())
        servers.append(await asyncio.start_unix_server(accept, folders[-1] / "s"))
        return RedisAddress(path=str(folders[-1] / "s"))

    yield start
    for writer in writers:
        writer.close()
    for server in servers:
        server.close()
    for folder in folders:
        shutil.rmtree(folder)


async def test_a_group_is_answered_together(connection: RespConnection) -> None:
    """One reply for each of its commands, of whatever kind."""
    replies = await connection.send(
        ("SET", "a", b"\x00\r\n", "PX", 60_000), ("GET", "a"), ("STRLEN", "a"), ("GET", "none"), ("MGET", "a", "none")
    )
    assert replies == [b"OK", b"\x00\r\n", 3, None, [b"\x00\r\n", None]]


async def test_groups_are_answered_in_the_order_they_were_sent(connection: RespConnection) -> None:
    """Many at once, each to its own future, large replies among them."""
    big = "x" * 200_000
    groups = [connection.send(("ECHO", f"{n}{big if n % 10 == 0 else ''}"), ("ECHO", f"also {n}")) for n in range(100)]
    done: list[int] = []
    for index, group in enumerate(groups):
        group.add_done_callback(lambda _, index=index: done.append(index))
    replies = await asyncio.gather(*groups)
    assert [reply[1] for reply in replies] == [f"also {n}".encode() for n in range(100)]
    assert len(replies[10][0]) == 200_002
    assert done == sorted(done)


async def test_an_error_is_a_value_among_the_replies(connection: RespConnection) -> None:
    """The group's other commands have theirs, and `refuse_errors` makes an exception of it."""
    replies = await connection.send(("PING",), ("NONSENSE",), ("PING",))
    assert (replies[0], replies[2]) == (b"PONG", b"PONG")
    assert isinstance(replies[1], hiredis.ReplyError)
    with pytest.raises(RedisRefused, match="unknown command"):
        refuse_errors(replies)
    assert refuse_errors(replies[:1]) == [b"PONG"]


async def test_a_caller_that_left_does_not_disturb_the_order(connection: RespConnection) -> None:
    """Its reply is read and thrown away."""
    given_up = connection.send(("ECHO", "one"))
    given_up.cancel()
    assert await connection.send(("ECHO", "two")) == [b"two"]


async def test_a_lost_connection_fails_what_was_under_way(connection: RespConnection, redis: Redis) -> None:
    """At once and with RedisLost, as it does everything that is sent later."""
    blocked = connection.send(("BLPOP", "nothing", 0))
    behind = connection.send(("PING",))
    [client_id] = [client["id"] for client in redis.client_list() if client["cmd"] == "blpop"] or [None]
    async with asyncio.timeout(SOON_S):
        while client_id is None:
            await asyncio.sleep(0.01)
            client_id = next((client["id"] for client in redis.client_list() if client["cmd"] == "blpop"), None)
        assert not connection.lost.done()
        redis.client_kill_filter(_id=client_id)
        for future in (blocked, behind):
            with pytest.raises(RedisLost):
                await future
        await connection.lost
    with pytest.raises(RedisLost, match="not connected"):
        await connection.send(("PING",))


async def test_closing_is_a_loss_too(connection: RespConnection) -> None:
    """Whoever still waits is told; closing twice is no error."""
    blocked = connection.send(("BLPOP", "nothing", 0))
    connection.close()
    connection.close()
    async with asyncio.timeout(SOON_S):
        with pytest.raises(RedisLost):
            await blocked
        await connection.lost


async def test_a_wrong_password_is_a_mistake_in_the_configuration(redis_address: RedisAddress, password: str) -> None:
    """As is none at all where one is asked for; the message never has the password."""
    for given in ("wr0ng", None):
        address = RedisAddress(path=redis_address.path, password=given)
        with pytest.raises(ConfigError, match=r"refuses us: (WRONGPASS|NOAUTH)") as caught:
            await RespConnection.open(address, timeout_s=SOON_S)
        assert "wr0ng" not in str(caught.value)


async def test_the_right_password_opens(redis_address: RedisAddress, password: str) -> None:
    """Of the default user, or of a named one."""
    for username in (None, "default"):
        address = RedisAddress(path=redis_address.path, username=username, password=password)
        connection = await RespConnection.open(address, timeout_s=SOON_S)
        assert await connection.send(("PING",)) == [b"PONG"]
        connection.close()


async def test_the_database_is_selected(redis_address: RedisAddress, redis: Redis) -> None:
    """Of several in one Redis; one that is not there is a mistake in the configuration."""
    connection = await RespConnection.open(RedisAddress(path=redis_address.path, db=3), timeout_s=SOON_S)
    await connection.send(("SET", "here", 1, "PX", 60_000))
    assert redis.exists("here") == 0
    connection.close()
    with pytest.raises(ConfigError, match="DB index"):
        await RespConnection.open(RedisAddress(path=redis_address.path, db=99), timeout_s=SOON_S)


async def test_nobody_there_is_a_loss(redis_address: RedisAddress) -> None:
    """It may come; so it is tried again, not given up."""
    with pytest.raises(RedisLost, match="/nowhere"):
        await RespConnection.open(RedisAddress(path="/nowhere/redis.sock"), timeout_s=SOON_S)


async def test_a_redis_that_is_loading_is_a_loss(pretend: Callable[[Serve], Awaitable[RedisAddress]]) -> None:
    """It will be there soon."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")

    with pytest.raises(RedisLost, match="LOADING"):
        await RespConnection.open(await pretend(serve), timeout_s=SOON_S)


async def test_silence_is_a_loss_after_a_while(pretend: Callable[[Serve], Awaitable[RedisAddress]]) -> None:
    """A Redis that is stopped still takes connections."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)

    with pytest.raises(RedisLost, match="no answer in time"):
        await RespConnection.open(await pretend(serve), timeout_s=0.05)


async def test_who_speaks_another_language_is_hung_up_on(
    pretend: Callable[[Serve], Awaitable[RedisAddress]], caplog: pytest.LogCaptureFixture
) -> None:
    """A web server at that address, say."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with pytest.raises(RedisLost):
        await RespConnection.open(await pretend(serve), timeout_s=SOON_S)


@pytest.mark.parametrize(
    ("url", "address", "shown"),
    [
        ("redis://h:6380/2", RedisAddress(host="h", port=6380, db=2), "redis://h:6380/2"),
        ("redis://h", RedisAddress(host="h"), "redis://h:6379/0"),
        ("rediss://u:p@h", RedisAddress(host="h", username="u", password="p", tls=True), "rediss://h:6379/0"),
        ("unix:///run/r.sock?db=1", RedisAddress(path="/run/r.sock", db=1, host="localhost"), "unix:///run/r.sock"),
        ("unix://u:p@/run/r.sock", RedisAddress(path="/run/r.sock", username="u", password="p"), "unix:///run/r.sock"),
    ],
)
def test_addresses_are_read_from_urls(url: str, address: RedisAddress, shown: str) -> None:
    """And are shown in logs without the password."""
    read = RedisAddress.of(RedisConfig(url=url))
    assert str(read) == shown
    for name in ("port", "path", "db", "username", "password", "tls"):
        assert getattr(read, name) == getattr(address, name)


def test_the_password_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it stands in no file; one in the URL goes first."""
    monkeypatch.setenv("ISOCHRONE_REDIS_PASSWORD", "from outside")
    assert RedisAddress.of(RedisConfig(url="redis://h", username="mesh")).password == "from outside"
    assert RedisAddress.of(RedisConfig(url="redis://:inside@h")).password == "inside"
