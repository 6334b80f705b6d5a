"""How a request is started, left, and how it ends, whoever sent it and however it came."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple, Protocol

from isochrone.errors import IsochroneError
from isochrone.rpc import Answered, Call
from isochrone.v1 import budget_pb2


class Ended(NamedTuple):
    """What came of a request."""

    payload: bytes
    """The answer; empty where it has streamed."""
    error: IsochroneError | None
    """In place of an answer, or of the rest of one; it has the budget too."""
    budget: budget_pb2.BudgetReport


Done = Callable[[Ended], None]
"""Told once, when the request has ended."""
Taken = Callable[[], None]
"""The chunk has left: there is room for another. Called once for each."""
Chunks = Callable[[bytes, Taken], None]
"""Told of each chunk of an answer that streams, in their order, all before its end."""
Leave = Callable[[], None]
"""The caller has gone: the request ends, and nobody is told. Idempotent, and nothing once it has ended."""


class Start(Protocol):
    """Takes a request in."""

    def __call__(self, call: Call, done: Done, chunks: Chunks | None = None) -> Leave:
        """With `chunks` the answer streams. Raises the IsochroneError that the request is refused with; then neither
        is ever told anything."""


async def awaited(start: Start, call: Call) -> Answered:
    """Starts a request and waits for its end. Raises an IsochroneError in place of an answer."""
    ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def settle(what: Ended) -> None:
        if not ended.done():  # as it is when its caller has just left
            ended.set_result(what)

    leave = start(call, settle)
    try:
        payload, error, budget = await ended
    except asyncio.CancelledError:
        leave()
        raise
    if error is not None:
        raise error
    return Answered(payload, budget)


async def streamed(start: Start, call: Call, ended: Done) -> AsyncIterator[bytes]:
    """Starts a request and gives its chunks; `ended` is told of its end before the iteration stops.

    A chunk counts as taken when the next one is asked for. Raises what the request is refused with, and the error
    that it ends with.
    """
    arrived: deque[tuple[bytes, Taken]] = deque()
    ends: list[Ended] = []
    news = asyncio.Event()

    def chunk(payload: bytes, taken: Taken) -> None:
        arrived.append((payload, taken))
        news.set()

    def end(what: Ended) -> None:
        ends.append(what)
        news.set()

    leave = start(call, end, chunk)
    try:
        while arrived or not ends:
            while arrived:
                payload, taken = arrived.popleft()
                yield payload
                taken()
            if not ends:
                news.clear()
                await news.wait()
    finally:
        leave()
    ended(ends[0])
    if ends[0].error is not None:
        raise ends[0].error
