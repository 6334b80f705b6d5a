"""The file of callers that is read again while the router runs, and what is in force with that of the mesh's file."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from isochrone.config import CallerConfig, load_callers
from isochrone.config.callers import refuse_doubles
from isochrone.errors import ConfigError

log = logging.getLogger(__name__)

LOOK_S = 1.0
_NEVER = (-1, -1, -1)

Callers = Mapping[str, CallerConfig]


class CallersFile:
    """`router.callers_file`. Whatever becomes of it, the last good one holds."""

    def __init__(self, path: Path, *, others: Callers) -> None:
        """`others` are those of the mesh's file. Raises ConfigError where the file can't be used."""
        self._path = path
        self._others = others
        self._seen = self._state()
        self.callers = self._read()
        """All of them."""
        self._again = asyncio.Event()

    def __repr__(self) -> str:
        return f"<CallersFile {self._path}, {len(self.callers)} callers>"

    def read_again(self) -> None:
        """Soon, whether or not it seems to have changed."""
        self._seen = _NEVER
        self._again.set()

    async def run(self, changed: Callable[[Callers], None]) -> None:
        """Looks after it until cancelled; tells of the callers whenever they are others than before."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._again.wait()
            except TimeoutError:
                pass
            self._again.clear()
            state = self._state()  # before it is read: what is written meanwhile is seen the next time
            if state == self._seen:
                continue
            self._seen = state
            try:
                # In a thread: a long file takes YAML longer than a request may wait.
                callers = await asyncio.to_thread(self._read)
            except ConfigError as error:
                log.error("callers stay as they are: %s", error)
                continue
            if callers != self.callers:
                log.info("%s: callers are now %s", self._path, ", ".join(callers) or "none")
                self.callers = callers
                changed(callers)

    def _read(self) -> Callers:
        callers = load_callers(self._path)
        for name in callers:
            if name in self._others:
                raise ConfigError(f"{self._path}: callers.{name}: is in the mesh's file too; keep one")
        both = {**self._others, **callers}
        try:
            refuse_doubles(both)
        except ValueError as error:
            raise ConfigError(f"{self._path}: {error}") from error
        return both

    def _state(self) -> tuple[int, int, int] | None:
        """Changes when the file does, or another takes its place."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino
