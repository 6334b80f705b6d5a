"""Requests over sessions: several of them, to several addresses, opened anew when they end.

Where there are no sessions to be had, and for a request that is too large to travel with others, an RPC of its own
does it (`unary`).
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from isochrone.client.endpoint import Endpoint
from isochrone.client.metadata import lost, sent_error
from isochrone.client.session import NoSessions, Session, SessionLost
from isochrone.client.transport import Reply, Request, check_size
from isochrone.client.unary import AGAIN_AFTER_S, CLOSED, UnaryTransport
from isochrone.errors import Cancelled, DeadlineExceeded
from isochrone.v1 import router_pb2

OPEN_S = 2.0
"""How long opening one may take."""
AGAIN_FIRST_S, AGAIN_MOST_S = 0.05, 2.0
NONE_HERE_S = 30.0
"""Who had no sessions is asked again after this: it may have been a router's port between two processes."""


class SessionTransport:
    """A Transport for asyncio over `sessions` streams to each endpoint. Connects on first use."""

    def __init__(self, endpoints: Sequence[Endpoint], *, sessions: int) -> None:
        client = secrets.randbits(63)
        self._slots = [_Slot(endpoint, client) for endpoint in endpoints for _ in range(sessions)]
        self._unary = [UnaryTransport(endpoint) for endpoint in endpoints]
        self._turn = random.randrange(len(endpoints))
        self._max_message_bytes = endpoints[0].max_message_bytes
        self._closed = False

    def __repr__(self) -> str:
        up = sum(slot.is_up for slot in self._slots)
        targets = ", ".join(dict.fromkeys(slot.endpoint.target for slot in self._slots))
        return f"<sessions to {targets}, {'closed' if self._closed else f'{up} of {len(self._slots)} up'}>"

    async def exchange(self, request: Request) -> Reply:
        give_up_s = self._give_up_s(request)
        for pause_s in (*AGAIN_AFTER_S, None):
            session = self._best() or await self._opened(give_up_s - time.monotonic())
            left_s = give_up_s - time.monotonic()
            if session is None or not session.takes(len(request.payload)):
                return _late() if left_s <= 0 else await self._unary_one().exchange(replace(request, timeout_s=left_s))
            try:
                return _reply(await session.ask(request, timeout_s=left_s))
            except TimeoutError:
                return _late()
            except SessionLost as error:
                reply = self._given_up(error, pause_s, give_up_s)
            if reply is not None:
                return reply
            await asyncio.sleep(pause_s or 0.0)
        raise AssertionError("unreachable")

    async def stream(self, request: Request) -> AsyncGenerator[bytes | Reply, None]:
        give_up_s = self._give_up_s(request)
        for pause_s in (*AGAIN_AFTER_S, None):
            session = self._best() or await self._opened(give_up_s - time.monotonic())
            left_s = give_up_s - time.monotonic()
            if session is None or not session.takes(len(request.payload)):
                if left_s <= 0:
                    yield _late()
                    return
                async with aclosing(self._unary_one().stream(replace(request, timeout_s=left_s))) as parts:
                    async for part in parts:
                        yield part
                return
            arrived, reply = False, None
            try:
                async with aclosing(session.stream(request, timeout_s=left_s)) as answer:
                    async for each in answer:
                        arrived = True
                        yield each if isinstance(each, bytes) else _reply(each)
                return
            except TimeoutError:
                reply = _late()
            except SessionLost as error:
                reply = self._given_up(error, None if arrived else pause_s, give_up_s)
            if reply is not None:
                yield reply
                return
            await asyncio.sleep(pause_s or 0.0)

    async def close(self, *, grace_s: float) -> None:
        self._closed = True
        await asyncio.gather(*(slot.close(grace_s) for slot in self._slots))
        await asyncio.gather(*(unary.close(grace_s=grace_s) for unary in self._unary))

    def _best(self) -> Session | None:
        """The session with the least under way; those that are down are opened again meanwhile."""
        best = None
        for slot in self._slots:
            session = slot.session
            if session is None or not session.takes_requests:
                slot.open_soon()
            elif best is None or session.under_way < best.under_way:
                best = session
        return best

    async def _opened(self, timeout_s: float) -> Session | None:
        """The first session that comes up; None where none does."""
        until_s = time.monotonic() + min(timeout_s, OPEN_S)
        while opening := {slot.opening for slot in self._slots if slot.opening is not None}:
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                break
            await asyncio.wait(opening, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            best = self._best()
            if best is not None:
                return best
        return None

    def _give_up_s(self, request: Request) -> float:
        """When a request's time is up, on the monotonic clock. Raises what it can't be sent for at all."""
        if self._closed:
            raise RuntimeError("the client is closed")
        check_size(request, max_message_bytes=self._max_message_bytes)
        return time.monotonic() + request.timeout_s

    def _given_up(self, error: SessionLost, pause_s: float | None, give_up_s: float) -> Reply | None:
        """The reply where a session ended under a request; None where it may be tried again after the pause."""
        if self._closed:
            return Reply(b"", error=Cancelled(CLOSED))
        if pause_s is None or time.monotonic() + pause_s >= give_up_s:
            return Reply(b"", error=lost(error))
        return None

    def _unary_one(self) -> UnaryTransport:
        self._turn = (self._turn + 1) % len(self._unary)
        return self._unary[self._turn]


class _Slot:
    """The place of one session."""

    def __init__(self, endpoint: Endpoint, client: int) -> None:
        self.endpoint = endpoint
        self._client = client
        self.session: Session | None = None
        self.opening: asyncio.Task[None] | None = None
        self._again_at_s = 0.0
        self._pause_s = AGAIN_FIRST_S
        self._over: set[asyncio.Task[None]] = set()
        self._closed = False

    @property
    def is_up(self) -> bool:
        return self.session is not None and self.session.takes_requests

    def open_soon(self) -> None:
        """Opens a session in the background, unless that has just failed or is under way."""
        if self.opening is None and not self._closed and time.monotonic() >= self._again_at_s:
            self.opening = asyncio.create_task(self._open(), name=f"open a session to {self.endpoint.target}")

    async def close(self, grace_s: float) -> None:
        self._closed = True
        if self.opening is not None:
            self.opening.cancel()
            await asyncio.gather(self.opening, return_exceptions=True)
        if self.session is not None:
            self._leave(self.session, grace_s)
        await asyncio.gather(*self._over, return_exceptions=True)

    async def _open(self) -> None:
        before, self.session = self.session, None
        if before is not None:
            self._leave(before, grace_s=30.0)  # a draining one still answers
        try:
            self.session = await Session.open(self.endpoint, client=self._client, timeout_s=OPEN_S)
            self._pause_s = AGAIN_FIRST_S
        except NoSessions:
            self._again_at_s = time.monotonic() + NONE_HERE_S
        except SessionLost:
            self._again_at_s = time.monotonic() + self._pause_s * random.uniform(0.5, 1.0)
            self._pause_s = min(2 * self._pause_s, AGAIN_MOST_S)
        finally:
            self.opening = None

    def _leave(self, session: Session, grace_s: float) -> None:
        task = asyncio.create_task(_finish(session, grace_s), name="finish a session")
        self._over.add(task)
        task.add_done_callback(self._over.discard)


async def _finish(session: Session, grace_s: float) -> None:
    try:
        if not session.lost.done():
            async with asyncio.timeout(grace_s):
                await session.finish()
    except TimeoutError:
        pass
    finally:
        await session.close()


def _reply(answer: router_pb2.SessionAnswer) -> Reply:
    report = answer.budget if answer.HasField("budget") else None
    if not answer.status:
        return Reply(answer.payload, report=report)
    return Reply(b"", error=sent_error(answer.status), report=report)


def _late() -> Reply:
    return Reply(b"", error=DeadlineExceeded("no answer within the deadline"))
