"""What the processes of one run of the tests share: a folder, and the machine, which some tests want for themselves."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class SharedRun:
    """One run, as each of its processes sees it. Locks end with the process that holds them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Of all processes of the run, and gone after it."""
        self._door = self._opened("door")
        self._machine = self._opened("machine")
        self._alone = False

    def close(self) -> None:
        """What this process holds is free."""
        self._door.close()
        self._machine.close()

    @contextmanager
    def machine(self, *, alone: bool, next_alone: bool) -> Iterator[None]:
        """A test runs, alone on the machine or beside those of the other processes. Between tests that want it alone
        nobody else comes in."""
        if not self._alone:
            # Who waits to be alone stands in the door: others would come in before it for ever.
            fcntl.flock(self._door, fcntl.LOCK_EX)
            try:
                fcntl.flock(self._machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            finally:
                fcntl.flock(self._door, fcntl.LOCK_UN)
        try:
            yield
        finally:
            self._alone = alone and next_alone
            if not self._alone:
                fcntl.flock(self._machine, fcntl.LOCK_UN)

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Only one process of the run is inside."""
        with self._opened(name) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _opened(self, name: str) -> IO[bytes]:
        return (self.folder / f"{name}.lock").open("wb")
