"""How a request is started, left, and how it ends, whoever sent it and however it came."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import NamedTuple, Protocol

from isochrone.errors import IsochroneError
from isochrone.rpc import Answered, Call
from isochrone.v1 import budget_pb2


class Ended(NamedTuple):
    """What came of a request."""

    payload: bytes
    error: IsochroneError | None
    """In place of an answer; it has the budget too."""
    budget: budget_pb2.BudgetReport


Done = Callable[[Ended], None]
"""Told once, when the request has ended."""
Leave = Callable[[], None]
"""The caller has gone: the request ends, and nobody is told. Idempotent, and nothing once it has ended."""


class Start(Protocol):
    """Takes a request in."""

    def __call__(self, call: Call, done: Done) -> Leave:
        """Raises the IsochroneError that the request is refused with; then `done` is never told."""


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
