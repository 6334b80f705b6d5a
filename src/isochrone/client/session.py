"""One session: a stream to one router process that carries many requests at a time.

Requests of one turn of the event loop travel in one message, and so do their answers: a request then costs a
fraction of what an RPC of its own does. An answer that streams has credits of its own besides, so that a reader that
stops holds up nobody but itself.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any, NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from isochrone.client.endpoint import Endpoint
from isochrone.client.incoming import CREDITS, Incoming
from isochrone.client.transport import Request
from isochrone.link.outbox import Outbox
from isochrone.v1 import router_pb2

METHOD = "/isochrone.v1.Router/Session"
OLDEST = NEWEST = 1
EOF: Any = grpc.aio.EOF  # type: ignore[attr-defined]
LEAST_WAY_S = 0.002
"""What the way to the router and back is taken for before it was measured, and at least."""
LAST_WORD_S = 0.003
"""How long past the deadline the router's last word is waited for: it says where the time went, and on a loop that was
busy until now it may lie in the socket."""
_LONGEST_US = 2**32 - 1


class SessionLost(ConnectionError):
    """The stream has ended, or could not be opened; what was under way may or may not have been answered."""


class NoSessions(Exception):
    """Whoever is there has no sessions: a node, or an older router."""


class _Asked(NamedTuple):
    request: Request
    asked_s: float
    give_up_s: float
    """On the loop's clock."""
    answer: asyncio.Future[router_pb2.SessionAnswer]
    chunks: Incoming | None
    """Where the answer streams."""


class Session:
    """Made by `open`; ends with `close`, or by itself when the stream does."""

    def __init__(self, channel: grpc.aio.Channel, stream: Any, welcome: router_pb2.SessionWelcome) -> None:
        self._channel = channel
        self._stream = stream
        self._welcome = welcome
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._sent: dict[int, _Asked] = {}
        self._sent_bytes = 0
        self._queue: dict[int, _Asked] = {}
        """Past the router's window, in their order."""
        self._outbox: Outbox[router_pb2.ClientFrames] = Outbox(router_pb2.ClientFrames)
        self._way_s = LEAST_WAY_S
        self._draining = False
        self._finishing: asyncio.Task[None] | None = None
        self.lost: asyncio.Future[None] = self._loop.create_future()
        """Done when the stream has ended."""
        self._tasks = (
            asyncio.create_task(self._outbox.write_all(self._write), name="write to a session"),
            asyncio.create_task(self._read_all(), name="read from a session"),
        )
        for task in self._tasks:
            task.add_done_callback(self._ended)

    def __repr__(self) -> str:
        state = "lost" if self.lost.done() else "draining" if self._draining else "open"
        return f"<Session with {self._welcome.router}, {state}, {self.under_way} under way>"

    @classmethod
    async def open(cls, endpoint: Endpoint, *, client: int, timeout_s: float) -> Session:
        """Connects, on a connection of its own. `client` is the same in all of one client's. Raises SessionLost, or
        NoSessions."""
        channel = endpoint.dialled(own_connection=True)
        try:
            async with asyncio.timeout(timeout_s):
                stream = _opened(channel, endpoint)
                hello = router_pb2.SessionHello(version_min=OLDEST, version_max=NEWEST, client=client)
                await stream.write(router_pb2.ClientFrames(hello=hello).SerializeToString())
                first = await stream.read()
                if first is EOF:
                    raise NoSessions(f"{endpoint.target} ended the stream")
                welcome = router_pb2.SessionFrames.FromString(first).welcome
                if welcome.refusal or not (welcome.version and welcome.window_requests):
                    raise NoSessions(f"{endpoint.target}: {welcome.refusal or 'said no welcome'}")
            return cls(channel, stream, welcome)
        except BaseException as error:
            await channel.close(None)
            if isinstance(error, grpc.aio.AioRpcError):
                if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
                    raise SessionLost(f"{endpoint.target}: {error.details()}") from error
                raise NoSessions(f"{endpoint.target}: {error.details()}") from error
            if isinstance(error, TimeoutError):
                raise SessionLost(f"{endpoint.target}: no welcome in time") from error
            if isinstance(error, DecodeError):
                raise NoSessions(f"{endpoint.target}: not a session's welcome") from error
            raise

    @property
    def takes_requests(self) -> bool:
        return not self._draining and not self.lost.done()

    @property
    def under_way(self) -> int:
        return len(self._sent) + len(self._queue)

    def takes(self, size_bytes: int) -> bool:
        """Whether a request of that size may travel here; larger ones would hold up the small."""
        return size_bytes <= self._welcome.request_bytes

    async def ask(self, request: Request, *, timeout_s: float) -> router_pb2.SessionAnswer:
        """The answer to a request. Raises SessionLost, and TimeoutError past `timeout_s`; then, and when the waiting
        task is cancelled, the mesh is told that nobody waits any more."""
        id, asked = self._begin(request, timeout_s, None)
        timer = self._loop.call_at(asked.give_up_s, self._await_last_word, asked.answer)
        try:
            return await asked.answer
        finally:
            timer.cancel()
            self._leave(id)

    async def stream(
        self, request: Request, *, timeout_s: float
    ) -> AsyncGenerator[bytes | router_pb2.SessionAnswer, None]:
        """The chunks of an answer, and last the answer itself. Raises as `ask` does, after what had arrived; closed
        before its end, it tells the mesh that nobody waits any more."""
        chunks = Incoming()
        id, asked = self._begin(request, timeout_s, chunks)

        def over(_: object) -> None:
            self._leave(id)  # at once where it is out of time, not when its reader comes back
            chunks.wake()

        asked.answer.add_done_callback(over)
        timer = self._loop.call_at(asked.give_up_s, self._await_last_word, asked.answer)
        try:
            while chunks or not asked.answer.done():
                while chunks:
                    chunk, grant = chunks.take()
                    if grant and id in self._sent:
                        self._outbox.frames().credits.add(id=id, chunks=grant)
                    yield chunk
                if not asked.answer.done():
                    await chunks.news()
            yield await asked.answer
        finally:
            timer.cancel()
            if not asked.answer.cancel():
                asked.answer.exception()  # seen, whoever closed this early

    async def close(self) -> None:
        """Ends the stream. What is under way fails with SessionLost."""
        tasks = (*self._tasks, *(() if self._finishing is None else (self._finishing,)))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._channel.close(None)

    async def finish(self) -> None:
        """Takes nothing more, and waits until all that is under way has been answered and the stream has ended."""
        self._draining = True
        while not self.lost.done() and (waiting := self._not_yet_sent_or_streaming()):
            await asyncio.wait((waiting[0].answer, self.lost), return_when=FIRST_COMPLETED)
        flushed = asyncio.create_task(self._outbox.flushed())
        await asyncio.wait((flushed, self.lost), return_when=FIRST_COMPLETED)
        flushed.cancel()
        with suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self._stream.done_writing()
        await asyncio.wait((self.lost,))

    def _begin(self, request: Request, timeout_s: float, chunks: Incoming | None) -> tuple[int, _Asked]:
        """Sends a request, or has it wait for room in the window. Raises SessionLost."""
        if not self.takes_requests:
            raise SessionLost("the session is over")
        id = next(self._numbers)
        now_s = self._loop.time()
        asked = _Asked(request, now_s, now_s + timeout_s, self._loop.create_future(), chunks)
        if self._queue or not self._has_room(len(request.payload)):
            self._queue[id] = asked
        else:
            self._send(id, asked)
        return id, asked

    def _leave(self, id: int) -> None:
        """Nobody waits for it any more: where it isn't over, the mesh is told."""
        if self._queue.pop(id, None) is None and id in self._sent:
            self._outbox.frames().cancels.append(id)
            self._settled(id)

    def _not_yet_sent_or_streaming(self) -> list[_Asked]:
        """What there is yet to say something for: itself, or credits."""
        return [*self._queue.values(), *(asked for asked in self._sent.values() if asked.chunks is not None)]

    def _send(self, id: int, asked: _Asked) -> None:
        request = asked.request
        self._sent[id] = asked
        self._sent_bytes += len(request.payload)
        left_s = asked.give_up_s - self._loop.time()
        # The router's clock for it starts when it arrives, and its last word has to come back by then.
        left_us = int((left_s - min(1.5 * self._way_s + LEAST_WAY_S, 0.1 * left_s)) * 1e6)
        self._outbox.frames().requests.add(
            id=id,
            route=request.route,
            payload=request.payload,
            timeout_us=max(1, min(left_us, _LONGEST_US)),
            variant=request.variant or "",
            credits=0 if asked.chunks is None else CREDITS,
            tier=request.tier or "",
            traceparent=request.traceparent,
            tracestate=request.tracestate,
        )

    def _has_room(self, size_bytes: int) -> bool:
        window = self._welcome
        return not self._sent or (
            len(self._sent) < window.window_requests and self._sent_bytes + size_bytes <= window.window_bytes
        )

    def _await_last_word(self, answer: asyncio.Future[router_pb2.SessionAnswer]) -> None:
        self._loop.call_later(LAST_WORD_S, _time_out, answer)

    def _measure(self, asked: _Asked, answer: router_pb2.SessionAnswer) -> None:
        """How long the way there and back takes, without what the router spent: at its worst, slowly forgotten."""
        way_s = self._loop.time() - asked.asked_s - answer.budget.total_us / 1e6
        self._way_s = max(way_s, 0.95 * self._way_s) if answer.budget.total_us else self._way_s

    def _settled(self, id: int) -> _Asked | None:
        """A request is no longer under way; those that wait for room may have it now."""
        asked = self._sent.pop(id, None)
        if asked is None:
            return None
        self._sent_bytes -= len(asked.request.payload)
        while self._queue:
            first, waiting = next(iter(self._queue.items()))
            if not self._has_room(len(waiting.request.payload)):
                break
            del self._queue[first]
            self._send(first, waiting)
        return asked

    async def _write(self, frames: router_pb2.ClientFrames) -> None:
        await self._stream.write(frames.SerializeToString())

    async def _read_all(self) -> None:
        while (data := await self._stream.read()) is not EOF:
            frames = router_pb2.SessionFrames.FromString(data)
            for chunk in frames.chunks:
                streaming = self._sent.get(chunk.id)
                if streaming is not None and streaming.chunks is not None:
                    streaming.chunks.put(chunk.number, chunk.payload)
            for answer in frames.answers:
                asked = self._settled(answer.id)
                if asked is not None and not asked.answer.done():
                    if asked.chunks is None:  # those of others may have waited for credits
                        self._measure(asked, answer)
                    asked.answer.set_result(answer)
            if frames.drain and self._finishing is None:
                self._finishing = asyncio.create_task(self.finish(), name="finish a session")

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Reading or writing is over, and with it the session."""
        if self.lost.done():
            return
        self.lost.set_result(None)
        error = None if task.cancelled() else task.exception()
        waiting = [*self._sent.values(), *self._queue.values()]
        self._sent.clear()
        self._queue.clear()
        for asked in waiting:
            if not asked.answer.done():
                asked.answer.set_exception(SessionLost(str(error or "the router ended the session")))


def _opened(channel: Any, endpoint: Endpoint) -> Any:
    """The stream, whose messages are bytes."""
    return channel.stream_stream(METHOD, None, None)(metadata=endpoint.metadata or None)


def _time_out(answer: asyncio.Future[router_pb2.SessionAnswer]) -> None:
    if not answer.done():
        answer.set_exception(TimeoutError())
