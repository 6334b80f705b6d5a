"""Requests, many of them, and what became of each."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

from isochrone.client import Client
from isochrone.client.budget import Budget
from isochrone.errors import IsochroneError
from isochrone.testing.journal import Journal
from isochrone.testing.models import SLEEP
from isochrone.testing.v1 import toy_pb2

from .parts import HANGS_S


@dataclass(frozen=True, slots=True)
class Sent:
    """A request and what became of it. Times are on the monotonic clock."""

    body: bytes
    began_s: float
    ended_s: float
    answer: bytes | None = None
    error: BaseException | None = None
    budget: Budget | None = None

    @property
    def took_s(self) -> float:
        return self.ended_s - self.began_s

    @property
    def outcome(self) -> str:
        """ "answered", "wrong answer", or the name of the error."""
        if self.error is not None:
            return type(self.error).__name__
        return "answered" if self.answer == self.body else "wrong answer"


_numbers = count(1)


def new_body(size: int = 0) -> bytes:
    """A body that no other request of this test run has."""
    name = b"%d-%d." % (os.getpid(), next(_numbers))
    return name + b"." * max(0, size - len(name))


async def send(
    client: Client, *, timeout_s: float | None = None, size: int = 0, units: int = 0, trouble: str = ""
) -> Sent:
    """One request for a Sleep, with a body of its own."""
    body = new_body(size)
    payload = toy_pb2.ToyMessage(body=body, units=units, trouble=trouble).SerializeToString()
    began_s = time.monotonic()
    try:
        answer = await client.call(SLEEP, payload, timeout_s=timeout_s)
    except IsochroneError as error:
        return Sent(body, began_s, time.monotonic(), error=error, budget=error.budget)
    ended_s = time.monotonic()
    return Sent(body, began_s, ended_s, answer=toy_pb2.ToyMessage.FromString(answer.payload).body, budget=answer.budget)


class Load:
    """Callers that each send one request after another while the `async with` lasts, and what became of all."""

    def __init__(
        self, *clients: Client, callers: int = 8, pause_s: float = 0.0, timeout_s: float | None = None, size: int = 0
    ):
        self._clients = clients
        self._callers = callers
        self._pause_s = pause_s
        self._request: dict[str, Any] = {"timeout_s": timeout_s, "size": size}
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._news = asyncio.Event()
        self.sent: list[Sent] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._call(self._clients[n % len(self._clients)])) for n in range(self._callers)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        _, hanging = await asyncio.wait(self._tasks, timeout=HANGS_S)
        for task in hanging:
            task.cancel()
        assert not hanging, f"{len(hanging)} of {self._callers} callers hang"
        for task in self._tasks:
            task.result()

    async def answers(self, more: int) -> None:
        """Waits until so many more requests have been answered."""
        wanted = self.answered + more
        await self.until(lambda: self.answered >= wanted)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Waits until it is so, looking whenever a request has ended."""
        try:
            async with asyncio.timeout(HANGS_S):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not so within {HANGS_S:g} s: {self.outcomes}") from None

    @property
    def answered(self) -> int:
        return sum(sent.outcome == "answered" for sent in self.sent)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(sent.outcome for sent in self.sent)

    @property
    def failures(self) -> list[Sent]:
        """All that were not answered with what they sent."""
        return [sent for sent in self.sent if sent.outcome != "answered"]

    async def _call(self, client: Client) -> None:
        while not self._ending:
            self.sent.append(await send(client, **self._request))
            self._news.set()
            if self._pause_s:
                await asyncio.sleep(self._pause_s)


def replayed(journal: Journal, sent: Sequence[Sent], *, after_s: float = 0.5) -> list[bytes]:
    """Bodies that a node ran long after they had been answered: leftovers that came back from the dead."""
    answered_s = {one.body[:64]: one.ended_s for one in sent}
    return [
        body
        for forward in journal.forwards()
        for body in forward.bodies
        if forward.began_s > answered_s.get(body, forward.began_s) + after_s
    ]
