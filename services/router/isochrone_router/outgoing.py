"""What one session's client is told: answers and chunks that are ready together travel in one message."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from isochrone.errors import IsochroneError
from isochrone.starting import Taken
from isochrone.status import to_status
from isochrone.v1 import budget_pb2, router_pb2

MESSAGE_BYTES = 2**20
"""A message is closed once it has so much."""


class Outgoing:
    """Messages to a client, filled while those before them are being written."""

    def __init__(self) -> None:
        self._messages: deque[_Message] = deque()
        self.bytes = 0
        """Of payloads that are not yet written, those included that the client has meanwhile cancelled."""
        self._ready = asyncio.Event()

    def answer(
        self,
        id: int,
        *,
        request_bytes: int,
        payload: bytes = b"",
        error: IsochroneError | None = None,
        budget: budget_pb2.BudgetReport | None = None,
    ) -> None:
        """How a request has ended."""
        message = self._message()
        message.requests += 1
        message.request_bytes += request_bytes
        message.bytes += len(payload)
        self.bytes += len(payload)
        status = b"" if error is None else to_status(error).SerializeToString()
        message.frames.answers.add(id=id, payload=payload, status=status, budget=budget)

    def chunk(self, id: int, number: int, payload: bytes, taken: Taken) -> None:
        """A part of an answer; it is taken once its message has been written."""
        message = self._message()
        message.bytes += len(payload)
        self.bytes += len(payload)
        message.taken.append(taken)
        message.frames.chunks.add(id=id, number=number, payload=payload)

    def drain(self) -> None:
        """The router is leaving."""
        self._message().frames.drain = True

    async def write_all(
        self, write: Callable[[bytes], Awaitable[object]], *, answered: Callable[[int, int], None]
    ) -> None:
        """Writes message after message, until cancelled or `write` raises. `answered` is told how many answers have
        been written, and the bytes of their requests."""
        while True:
            await self._ready.wait()
            while self._messages:
                message = self._messages.popleft()
                await write(message.frames.SerializeToString())
                self.bytes -= message.bytes
                for taken in message.taken:
                    taken()
                answered(message.requests, message.request_bytes)
            self._ready.clear()

    def _message(self) -> _Message:
        """The message being filled; it will be sent."""
        if not self._messages or self._messages[-1].bytes > MESSAGE_BYTES:
            self._messages.append(_Message(router_pb2.SessionFrames()))
        self._ready.set()
        return self._messages[-1]


@dataclass(slots=True)
class _Message:
    """Frames on their way out, and what they free once they have left."""

    frames: router_pb2.SessionFrames
    requests: int = 0
    request_bytes: int = 0
    bytes: int = 0
    taken: list[Taken] = field(default_factory=list)
