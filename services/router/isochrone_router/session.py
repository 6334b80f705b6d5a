"""One client's stream of many requests: what comes in is started, what is answered goes out with the next message.

What a client may have under way is bounded by a window of requests and of bytes. Past it the router reads no more
from the stream, so that gRPC's flow control holds the client up; a request counts until its answer has been written,
and so do chunks, though the client have cancelled their request meanwhile.
An answer that streams has credits besides. A client that overruns the window has its credits held up with the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from isochrone.credentials import NONE, Credentials
from isochrone.deadline import Clock
from isochrone.errors import InvalidRequest, IsochroneError
from isochrone.incidents import incident
from isochrone.rpc import Call, fail
from isochrone.starting import Ended, Leave, Start
from isochrone.tracing import trace_id_of
from isochrone.v1 import router_pb2
from isochrone_router.answer_stream import AnswerStream
from isochrone_router.gatekeeper import Gatekeeper
from isochrone_router.outgoing import Outgoing

log = logging.getLogger(__name__)

OLDEST = NEWEST = 1
REQUEST_BYTES = 64 * 1024
"""A larger one would hold up the small ones behind it."""
AT_ONCE = 64
"""Requests of one message that are started before others get their turn."""
AT_ONCE_IN_COMPANY = 4
"""And while other clients have requests under way. Each turn of the event loop reads one message of each session, and
the messages of a client that sends a request now and then are small: next to a flood it would get a few of them through
in each long turn, and fall behind for ever."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one session may have under way."""

    requests: int = 1024
    bytes: int = 16 * 2**20


class Company:
    """Who has requests under way in the sessions of one router process. A client may have several sessions."""

    def __init__(self) -> None:
        self._busy: Counter[int] = Counter()

    def __repr__(self) -> str:
        return f"<Company of {self.busy} busy clients>"

    @property
    def busy(self) -> int:
        """How many clients have requests under way."""
        return len(self._busy)

    def add(self, client: int) -> None:
        """A session of the client has some now."""
        self._busy[client] += 1

    def remove(self, client: int) -> None:
        """It has none any more."""
        self._busy[client] -= 1
        if not self._busy[client]:
            del self._busy[client]


class Session:
    """One stream, from its Hello to its end."""

    def __init__(
        self,
        context: Any,
        start: Start,
        *,
        name: str,
        window: Window,
        clock: Clock,
        company: Company,
        credentials: Credentials = NONE,
    ) -> None:
        self._context = context
        self._credentials = credentials
        self._start = start
        self._name = name
        self._window = window
        self._clock = clock
        self._company = company
        self._client = id(self)
        self._under_way: dict[int, _UnderWay] = {}
        self._held = self._held_bytes = 0
        self._out = Outgoing()
        self._room = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Session {len(self._under_way)} under way, {self._held} of {self._window.requests} held>"

    async def run(self) -> None:
        """Serves until the client ends the stream, or breaks its rules. Raises InvalidRequest where it does."""
        hello = (await self._read()).hello
        self._client = hello.client or self._client
        welcome = _welcome(hello, name=self._name, window=self._window)
        await self._context.write(router_pb2.SessionFrames(welcome=welcome).SerializeToString())
        if welcome.refusal:
            return
        writing = asyncio.create_task(
            self._out.write_all(self._context.write, answered=self._release), name="write to a session"
        )
        try:
            while (frames := await self._read()) is not _EOF:
                for id in frames.cancels:
                    self._cancel(id)
                for credit in frames.credits:
                    self._grant(credit)
                received_s = self._clock()
                for number, request in enumerate(frames.requests, 1):
                    while self._is_full(len(request.payload)):
                        self._room.clear()
                        await self._room.wait()
                    self._take(request, received_s)
                    if not number % (AT_ONCE if self._company.busy < 2 else AT_ONCE_IN_COMPANY):
                        await asyncio.sleep(0)
            for under_way in list(self._under_way.values()):
                if under_way.stream is not None:
                    under_way.stream.unbind()
            while self._held:  # it says no more, and still listens
                self._room.clear()
                await self._room.wait()
        finally:
            writing.cancel()
            for request in self._under_way.values():
                if request.leave is not None:
                    request.leave()
            self._under_way.clear()
            self._hold(-self._held, -self._held_bytes)
            await asyncio.gather(writing, return_exceptions=True)  # on a stream that is gone it raises

    def drain(self) -> None:
        """Has the client send its next requests elsewhere. What it has sent is still answered."""
        self._out.drain()

    async def _read(self) -> Any:
        data = await self._context.read()
        if data is grpc.aio.EOF:  # type: ignore[attr-defined]
            return _EOF
        try:
            return router_pb2.ClientFrames.FromString(data)
        except DecodeError as error:
            raise InvalidRequest.of("frames", "are no ClientFrames: their bytes can't be parsed") from error

    def _take(self, request: router_pb2.SessionRequest, received_s: float) -> None:
        id, payload = request.id, request.payload
        if not id or id in self._under_way:
            raise InvalidRequest.of("requests.id", f"{id}: must be over 0, and that of no request under way")
        under_way = self._under_way[id] = _UnderWay(len(payload))
        self._hold(1, len(payload))
        timeout_us = request.timeout_us
        call = Call(
            route=request.route,
            request=payload,
            received_s=received_s,
            deadline_s=received_s + timeout_us / 1e6 if timeout_us else None,
            variant=request.variant or None,
            tier=request.tier,
            traceparent=request.traceparent,
            tracestate=request.tracestate,
            credentials=self._credentials,
        )
        answered = partial(self._answered, id)
        if request.credits:
            under_way.stream = AnswerStream(partial(self._out.chunk, id), answered, credits=request.credits)
        try:
            if len(payload) > REQUEST_BYTES:
                raise InvalidRequest.of(
                    "requests.payload", f"has {len(payload)} bytes; over {REQUEST_BYTES}, make a call of its own"
                )
            if under_way.stream is None:
                under_way.leave = self._start(call, answered)
            else:
                under_way.leave = self._start(call, under_way.stream.end, under_way.stream.chunk)
        except IsochroneError as error:
            self._answer(id, error=error, budget=error.budget)
        except Exception as error:
            self._answer(id, error=incident(call.route, error, trace_id=trace_id_of(call.traceparent)))

    def _cancel(self, id: int) -> None:
        request = self._under_way.pop(id, None)
        if request is not None and request.leave is not None:
            request.leave()
            self._release(1, request.size_bytes)

    def _grant(self, credit: router_pb2.SessionCredit) -> None:
        if not credit.chunks:
            raise InvalidRequest.of("credits.chunks", "0: a grant is of one chunk at least")
        request = self._under_way.get(credit.id)
        if request is not None and request.stream is not None:
            request.stream.grant(credit.chunks)

    def _answered(self, id: int, ended: Ended) -> None:
        self._answer(id, payload=ended.payload, error=ended.error, budget=ended.budget)

    def _answer(
        self, id: int, *, payload: bytes = b"", error: IsochroneError | None = None, budget: Any = None
    ) -> None:
        size_bytes = self._under_way.pop(id).size_bytes
        self._out.answer(id, request_bytes=size_bytes, payload=payload, error=error, budget=budget)

    def _is_full(self, more_bytes: int) -> bool:
        if self._out.bytes > self._window.bytes:  # of streams that were cancelled before it read what they had made
            return True
        if not self._held:
            return False
        return self._held >= self._window.requests or self._held_bytes + more_bytes > self._window.bytes

    def _release(self, requests: int, request_bytes: int) -> None:
        self._hold(-requests, -request_bytes)
        self._room.set()

    def _hold(self, requests: int, request_bytes: int) -> None:
        """So many more; fewer, where they are under 0."""
        was_busy = self._held > 0
        self._held += requests
        self._held_bytes += request_bytes
        if self._held > 0 and not was_busy:
            self._company.add(self._client)
        elif was_busy and not self._held:
            self._company.remove(self._client)


class Sessions:
    """The Session method: a handler for each stream, and all that are open."""

    def __init__(
        self, start: Start, *, name: str, window: Window, clock: Clock, gatekeeper: Gatekeeper | None = None
    ) -> None:
        """The gatekeeper, where there is one, looks at who opens a session, and at each of its requests."""
        self._gatekeeper = gatekeeper
        self._new: Callable[..., Session] = partial(
            Session, start=start, name=name, window=window, clock=clock, company=Company()
        )
        self._open: set[Session] = set()
        self._draining = False

    def __len__(self) -> int:
        return len(self._open)

    def handler(self) -> grpc.RpcMethodHandler[Any, Any]:
        """Of the Session method."""
        return grpc.stream_stream_rpc_method_handler(self._serve)

    def drain(self) -> None:
        """Moves every client to another router."""
        self._draining = True
        for session in self._open:
            session.drain()

    async def _serve(self, _: Any, context: Any) -> None:
        credentials = NONE
        if self._gatekeeper is not None:
            credentials = self._gatekeeper.credentials(context.invocation_metadata() or (), context)
            try:
                self._gatekeeper.admit_session(credentials)
            except IsochroneError as error:
                fail(context, error)
                return
        session = self._new(context, credentials=credentials)
        self._open.add(session)
        if self._draining:
            session.drain()
        try:
            await session.run()
        except IsochroneError as error:
            fail(context, error)
        except grpc.aio.UsageError:
            log.debug("the client of a session has gone")
        finally:
            self._open.discard(session)


@dataclass(slots=True)
class _UnderWay:
    """A request that was taken in and isn't answered."""

    size_bytes: int
    leave: Leave | None = None
    stream: AnswerStream | None = None
    """Where its answer streams."""


_EOF = router_pb2.ClientFrames()
"""Stands for the end of the stream; known by its identity."""


def _welcome(hello: router_pb2.SessionHello, *, name: str, window: Window) -> router_pb2.SessionWelcome:
    version = min(NEWEST, hello.version_max)
    if version < max(OLDEST, hello.version_min):
        theirs = f"{hello.version_min} to {hello.version_max}"
        return router_pb2.SessionWelcome(
            refusal=f"the client speaks session versions {theirs}, this router {OLDEST} to {NEWEST}: upgrade the older"
        )
    return router_pb2.SessionWelcome(
        version=version,
        router=name,
        window_requests=window.requests,
        window_bytes=window.bytes,
        request_bytes=REQUEST_BYTES,
    )
