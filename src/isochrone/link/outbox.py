"""Frames on their way out: whatever is ready when the stream is free goes as one message."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

_F = TypeVar("_F")


class Outbox(Generic[_F]):
    """Collects frames into one message until the writer takes it.

    A message of 64 frames costs little more than one of a single frame, so everything that a turn of the event
    loop produces travels together, and all that comes up while a write waits for flow control goes with the next.
    """

    def __init__(self, new: Callable[[], _F]) -> None:
        self._new = new
        self._frames = new()
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def frames(self) -> _F:
        """The message being filled; it will be sent."""
        self._ready.set()
        self._idle.clear()
        return self._frames

    async def write_all(self, write: Callable[[_F], Awaitable[object]]) -> None:
        """Writes message after message, until cancelled or `write` raises."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            frames, self._frames = self._frames, self._new()
            await write(frames)
            if not self._ready.is_set():
                self._idle.set()

    async def flushed(self) -> None:
        """Waits until everything put in so far has been written."""
        await self._idle.wait()
