"""How far a stream may run ahead of whoever takes its chunks."""

from __future__ import annotations

import asyncio


class Credit:
    """Chunks that may be sent before their taker grants more."""

    def __init__(self, chunks: int) -> None:
        self._chunks = chunks
        self._granted = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Credit for {self._chunks} chunks>"

    def grant(self, chunks: int) -> None:
        """The taker has room for so many more."""
        self._chunks += chunks
        self._granted.set()

    async def spend(self) -> None:
        """Takes the credit for one chunk, and waits for it where there is none."""
        while self._chunks < 1:
            self._granted.clear()
            await self._granted.wait()
        self._chunks -= 1
