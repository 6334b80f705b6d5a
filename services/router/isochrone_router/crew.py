"""Several router processes on one port: the first starts them by exec, passes signals on, and replaces the fallen."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from isochrone.child import Child, StackError, in_words
from isochrone.config import MeshConfig
from isochrone.embedded import private_folder
from isochrone.errors import ConfigError

log = logging.getLogger(__name__)

READY_S = 30.0
RESTART_FIRST_S, RESTART_MOST_S = 0.5, 10.0


class Crew:
    """The kernel spreads new connections over the processes (SO_REUSEPORT); each has links, lanes and admin port."""

    def __init__(self, config: MeshConfig, config_path: Path, *, nodes: Sequence[str]) -> None:
        if config.router.listen.endswith(":0") or config.router.admin.endswith(":0"):
            raise ConfigError("router.listen and router.admin: several processes need a port each can name, not 0")
        more = [part for address in nodes for part in ("--node-address", address)]
        self._folder = private_folder() if config.router.admin_tls is not None else None
        more += [] if self._folder is None else ["--siblings", str(self._folder)]
        command = (sys.executable, "-m", "isochrone_router", "--config", str(config_path), *more)
        self.members = [
            Child(
                name=f"{config.router.name}-{index}",
                kind="router",
                command=(*command, "--process", str(index)),
                log=_named if config.log == "text" else _as_it_is,
            )
            for index in range(config.router.processes)
        ]
        self._watchers: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Crew {self.members}>"

    @property
    def address(self) -> str:
        return self.members[0].address

    @property
    def admin_address(self) -> str:
        return self.members[0].admin

    async def start(self) -> None:
        """Starts all and waits until each serves. Raises ConfigError with the last words of one that doesn't."""
        try:
            await asyncio.gather(*(member.start(timeout_s=READY_S) for member in self.members))
        except StackError as error:
            await self.close()
            raise ConfigError(str(error)) from error
        self._watchers = [asyncio.create_task(self._watch(member)) for member in self.members]

    def read_callers_again(self) -> None:
        for member in self.members:
            member.send(signal.SIGHUP)

    async def wait(self) -> None:
        """Never ends by itself: members that fall are replaced."""
        await asyncio.gather(*self._watchers)

    async def drain(self, grace_s: float) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(member.stop(grace_s) for member in self.members))
        self._clear()

    async def close(self) -> None:
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*(member.stop(0) for member in self.members), return_exceptions=True)
        self._clear()

    def _clear(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    async def _watch(self, member: Child) -> None:
        wait_s = RESTART_FIRST_S
        while True:
            log.error("%s ended, %s; starting it again", member.name, in_words(await member.wait()))
            await asyncio.sleep(wait_s)
            try:
                await member.start(timeout_s=READY_S)
                wait_s = RESTART_FIRST_S
            except StackError as error:
                log.error("%s", error)
                wait_s = min(2 * wait_s, RESTART_MOST_S)


def _named(name: str, line: str) -> None:
    """Whose line it is: nothing in it says so."""
    print(f"{name} {line}", file=sys.stderr, flush=True)


def _as_it_is(_: str, line: str) -> None:
    """For programs that read JSON."""
    print(line, file=sys.stderr, flush=True)
