"""Chunks of an answer that have arrived over a session and wait for their reader."""

from __future__ import annotations

import asyncio
from collections import deque

CREDITS = 32
"""How many chunks may be on their way to a reader or wait for it."""


class Incoming:
    """The chunks of one request. Credits come back as its reader takes them, several at a time."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._number = self._taken = 0
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._chunks)

    def put(self, number: int, payload: bytes) -> None:
        """Raises ValueError where one is missing before it."""
        self._number += 1
        if number != self._number:
            raise ValueError(f"chunk {number} came where {self._number} was due")
        self._chunks.append(payload)
        self._news.set()

    def take(self) -> tuple[bytes, int]:
        """The next chunk, and how many more may be granted: 0 until there are enough to be worth saying."""
        self._taken += 1
        grant = 0
        if self._taken >= CREDITS // 2:
            grant, self._taken = self._taken, 0
        return self._chunks.popleft(), grant

    def wake(self) -> None:
        """Something else has happened that the reader waits for."""
        self._news.set()

    async def news(self) -> None:
        """Waits until there is something new."""
        self._news.clear()
        await self._news.wait()
