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

    def spend(self) -> bool:
        """Takes the credit for one chunk; False where there is none."""
        if self._chunks < 1:
            return False
        self._chunks -= 1
        return True

    async def granted(self) -> None:
        """Waits until there is some."""
        while self._chunks < 1:
            self._granted.clear()
            await self._granted.wait()
