"""A Start whose requests the test itself answers, chunk by chunk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from isochrone.errors import IsochroneError
from isochrone.rpc import Call
from isochrone.starting import Chunks, Done, Ended, Leave
from isochrone.v1 import budget_pb2

BUDGET = budget_pb2.BudgetReport(objective_us=15_000, total_us=4_200, lane="echo@cpu", node="by hand", chunks=3)


class ByHand:
    """A Start. Its requests come out of `next`; with `refusal` set, none gets in."""

    def __init__(self) -> None:
        self.refusal: IsochroneError | None = None
        self._taken_in: asyncio.Queue[Asked] = asyncio.Queue()

    def __call__(self, call: Call, done: Done, chunks: Chunks | None = None) -> Leave:
        if self.refusal is not None:
            raise self.refusal
        asked = Asked(call, done, chunks)
        self._taken_in.put_nowait(asked)
        return asked.left.set

    async def next(self) -> Asked:
        """The next request, once it is there."""
        return await asyncio.wait_for(self._taken_in.get(), 10)


class Asked:
    """A request, and all that can become of it."""

    def __init__(self, call: Call, done: Done, chunks: Chunks | None) -> None:
        self.call = call
        self.streams = chunks is not None
        self.left = asyncio.Event()
        """Its caller has gone."""
        self.made = self.taken = 0
        """Chunks, so far."""
        self._chunks = chunks
        self._done = done
        self._moved = asyncio.Event()

    def chunk(self, payload: bytes) -> None:
        assert self._chunks is not None, "it doesn't stream"
        self.made += 1
        self._chunks(payload, self._take)

    def end(self, payload: bytes = b"", error: IsochroneError | None = None) -> None:
        if error is not None:
            error.budget = BUDGET
        self._done(Ended(payload, error, BUDGET))

    async def make(self, payloads: Iterable[bytes], *, ahead: int = 8) -> None:
        """Chunk after chunk, as a node does that has so many credits: never more of them not yet taken."""
        for payload in payloads:
            while self.made - self.taken >= ahead:
                await self._move()
            self.chunk(payload)

    async def all_taken(self) -> None:
        while self.taken < self.made:
            await self._move()

    async def _move(self) -> None:
        self._moved.clear()
        await asyncio.wait_for(self._moved.wait(), 10)

    def _take(self) -> None:
        self.taken += 1
        assert self.taken <= self.made
        self._moved.set()
