"""What a mesh is put together from here: a real Redis, and a proxy that cuts its way to one process."""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
from redis.asyncio import Redis
from redis.exceptions import RedisError

from isochrone.child import Child
from isochrone.embedded import private_folder, redis_server
from isochrone.keys import Keys

MESH = "test"
KEYS = Keys(MESH)
SLEEP_LANE = "sleep@cpu"
HANGS_S = 20.0
"""A caller that waits for longer hangs: every deadline here is far shorter."""

Status = dict[str, Any]
"""What a router's /status says."""


async def until(
    look: Callable[[], Awaitable[Status]], is_so: Callable[[Status], bool], *, within_s: float = 15.0
) -> Status:
    """Looks until it is so, and gives what was seen. Fails with the last thing seen."""
    seen: Status = {}
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    seen = await look()
                    if is_so(seen):
                        return seen
                except aiohttp.ClientConnectionError as error:  # its process is away for the moment
                    seen = {"error": str(error)}
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not so within {within_s:g} s; last seen: {seen}") from None


class RedisServer:
    """A real redis-server of the test's own, on a Unix socket unless its options say more."""

    def __init__(self, *options: str, logs: Path, env: dict[str, str] | None = None, binary: Path | None = None):
        self.folder = private_folder()
        self.socket = self.folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.password: str | None = None
        """Of the default user, for the test's own look inside."""
        command = (
            *(str(binary or redis_server()), "--port", "0", "--unixsocket", str(self.socket)),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no", *options),
        )
        self.child = Child(name="redis", kind="redis", command=command, log=logs, env=env, probe=self._answers)

    async def start(self) -> None:
        """Starts it, or starts it again, empty."""
        await self.child.start(timeout_s=10)

    async def kill(self) -> None:
        """SIGKILL, as an accident would have it."""
        self.child.stopping = True
        self.child.kill()
        await self.child.wait()

    def stop_short(self) -> None:
        """SIGSTOP: it is there, takes connections, and says nothing."""
        self.child.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.child.send(signal.SIGCONT)

    async def close(self) -> None:
        await self.child.stop(0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def look(self) -> Redis:
        """A connection of the test's own; `async with` closes it."""
        return Redis(unix_socket_path=str(self.socket), password=self.password)

    async def say(self, *command: str | int) -> Any:
        """Runs one command."""
        async with self.look() as redis:
            return await redis.execute_command(*command)

    async def keys_for_ever(self) -> list[str]:
        """Keys that would never expire; there should be none."""
        async with self.look() as redis:
            return [key.decode() for key in await redis.keys() if await redis.pttl(key) == -1]

    async def waiting_jobs(self) -> dict[str, int]:
        """How many jobs wait in each lane that has any."""
        async with self.look() as redis:
            lanes = [key for key in await redis.keys() if b":lane:" in key]
            return {key.decode(): await redis.zcard(key) for key in lanes}

    async def _answers(self) -> bool:
        try:
            return bool(await self.say("PING"))
        except RedisError as error:
            return "NOAUTH" in str(error) or "NOPERM" in str(error)
        except OSError:
            return False


class Proxy:
    """A Unix socket in front of another, whose connections can be cut for one process and not for others."""

    def __init__(self, listen: str, target: str):
        self._listen = listen.removeprefix("unix:")
        self._target = target.removeprefix("unix:")
        self._cut_off: set[int] = set()
        self._frozen: set[int] = set()
        self._only: int | None = None
        self._thawed = asyncio.Event()
        self._connections: dict[asyncio.StreamWriter, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._listen)

    def cut(self, pid: int) -> None:
        """Breaks the connections of a process and refuses new ones: a cable is pulled out, and somebody noticed."""
        self._cut_off.add(pid)
        for writer in [writer for writer, owner in self._connections.items() if owner == pid]:
            writer.transport.abort()

    def freeze(self, pid: int) -> None:
        """Lets nothing through any more and breaks nothing: a network that swallows what it is given."""
        self._frozen.add(pid)
        self._thawed.clear()

    def allow_only(self, pid: int | None) -> None:
        """Refuses new connections of everybody else."""
        self._only = pid

    def heal(self) -> None:
        self._only = None
        self._cut_off.clear()
        self._frozen.clear()
        self._thawed.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        [pid] = struct.unpack(
            "i8x", writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        if pid in self._cut_off or self._only not in (None, pid):
            writer.transport.abort()
            return
        beyond, onward = await asyncio.open_unix_connection(self._target)
        self._connections |= {writer: pid, onward: pid}
        for source, sink in ((reader, onward), (beyond, writer)):
            task = asyncio.create_task(self._carry(source, sink, pid))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pid: int) -> None:
        try:
            while data := await source.read(65536):
                while pid in self._frozen:
                    await self._thawed.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            self._connections.pop(sink, None)
            sink.close()
