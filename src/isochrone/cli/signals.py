"""Ctrl-C and SIGTERM as a command that runs a stack takes them: the first asks it to end, the second insists."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_T = TypeVar("_T")


class Stopped(Exception):
    """The user asked for the end."""


class Signals:
    """Both signals, counted."""

    def __init__(self, on_second: Callable[[], None]) -> None:
        self._first = asyncio.Event()
        self._on_second = on_second

    @property
    def came(self) -> bool:
        return self._first.is_set()

    def note(self) -> None:
        if self.came:
            self._on_second()
        self._first.set()

    async def wait(self) -> None:
        """Until the first one."""
        await self._first.wait()

    async def unless_stopped(self, work: Awaitable[_T]) -> _T:
        """The work's result. Raises Stopped, with the work cancelled, if a signal comes first."""
        working = asyncio.ensure_future(work)
        told = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait((working, told), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise Stopped
        finally:
            told.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait((working,))


@contextmanager
def handled(on_second: Callable[[], None]) -> Iterator[Signals]:
    """Takes both signals for as long as the block runs. `on_second` is for a user who won't wait."""
    loop, signals = asyncio.get_running_loop(), Signals(on_second)
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, signals.note)
    try:
        yield signals
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
