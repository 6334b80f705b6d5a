"""The node's end of a link: serves the stream of one router process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Protocol

from isochrone.deadline import Clock
from isochrone.link.clock import ClockOffset
from isochrone.link.outbox import Outbox
from isochrone.link.stream import EOF, LinkBroken, NodeEnd
from isochrone.v1 import link_pb2

log = logging.getLogger(__name__)

PING_S = 0.2
FIRST_PINGS = 8
FIRST_PING_S = 0.01
FLUSH_S = 1.0
_MOST_US = 2**32 - 1
"""What a frame holds, over an hour: a request that asks for years of work is claimed before it is looked at."""


class RouterEvents(Protocol):
    """Who is told what comes over a link from a router. Calls are short and never await."""

    def submitted(self, link: RouterLink, jobs: Sequence[link_pb2.Job]) -> None: ...
    def cancelled(self, link: RouterLink, jobs: Sequence[int]) -> None: ...
    def granted(self, link: RouterLink, job: int, chunks: int) -> None: ...
    def router_gone(self, link: RouterLink) -> None: ...
    def node_state(self) -> link_pb2.NodeState: ...


class RouterLink:
    """The link of one router process, from its Hello to its end. Times that cross it are on the router's clock."""

    def __init__(self, hello: link_pb2.Hello, *, events: RouterEvents, clock: Clock) -> None:
        self.router = int(hello.router)
        """Boot id of the router process."""
        self.name = hello.name
        self.epoch = hello.epoch
        """Jobs of the lane from an older epoch are not run: their router has sent them another way."""
        self.clock_offset = ClockOffset()
        self.clock_offset.assume(now_s=clock(), theirs_s=hello.router_us / 1e6)
        self._events = events
        self._clock = clock
        self._outbox: Outbox[link_pb2.NodeFrames] = Outbox(link_pb2.NodeFrames)
        self._fetching: dict[int, asyncio.Future[bytes | None]] = {}
        self._finishing = asyncio.Event()

    def __repr__(self) -> str:
        return f"<RouterLink {self.name} {self.router:016x} epoch {self.epoch}>"

    def claim(self, jobs: Sequence[int], finish_in_s: float, *, beside: bool = False) -> None:
        """Tells the router that this node has these jobs now, and when it expects to be done with them. `beside`: no
        batch waits for that."""
        finish_in_us = int(min(max(0.0, finish_in_s * 1e6), _MOST_US))
        self._outbox.frames().claims.add(jobs=jobs, finish_in_us=finish_in_us, beside=beside)

    def batch_done(self) -> link_pb2.BatchDone:
        """A new BatchDone frame to fill; it goes out with the next message."""
        return self._outbox.frames().batches.add()

    def chunk(self, job: int, *, attempt: int, number: int, payload: bytes) -> None:
        """Sends a part of an answer that streams."""
        self._outbox.frames().chunks.add(job=job, attempt=attempt, number=number, payload=payload)

    def return_jobs(self, jobs: Sequence[int]) -> None:
        """Gives jobs back that were addressed to this node and that it will not run."""
        self._outbox.frames().returns.extend(jobs)

    def tell_state(self) -> None:
        """Tells the router how this node is doing, before the next ping would."""
        state = self._events.node_state()
        state.round_trip_us = int(self.clock_offset.round_trip_s * 1e6)
        self._outbox.frames().state.CopyFrom(state)

    def drain(self) -> None:
        self._outbox.frames().drain = True

    async def fetch(self, job: int) -> bytes | None:
        """The payload of a job that came as a ticket; None when the router no longer waits for it."""
        future = self._fetching.get(job)
        if future is None:
            future = self._fetching[job] = asyncio.get_running_loop().create_future()
            self._outbox.frames().fetches.append(job)
        try:
            return await asyncio.shield(future)
        finally:
            self._fetching.pop(job, None)

    def to_router_us(self, ours_s: float) -> int:
        return int(self.clock_offset.to_theirs(ours_s) * 1e6)

    def to_ours_s(self, router_us: int) -> float:
        return self.clock_offset.to_ours(router_us / 1e6)

    def finish(self) -> None:
        """Ends the link once what is on its way out has left."""
        self._finishing.set()

    async def run(self, stream: NodeEnd, *, after: link_pb2.RouterFrames) -> None:
        """Reads and writes, `after` the frames that came first, until the router leaves, the stream breaks, or
        `finish`."""
        self._take(after)
        writing = asyncio.create_task(self._outbox.write_all(stream.write), name=f"write to {self.name}")
        pinging = asyncio.create_task(self._ping(), name=f"ping {self.name}")
        reading = asyncio.create_task(self._read(stream), name=f"read from {self.name}")
        finishing = asyncio.create_task(self._finishing.wait(), name=f"finish {self.name}")
        tasks = (writing, pinging, reading, finishing)
        try:
            await asyncio.wait((reading, writing, finishing), return_when=asyncio.FIRST_COMPLETED)
            if finishing.done() and not writing.done():
                pinging.cancel()
                flushed = asyncio.create_task(self._outbox.flushed())
                await asyncio.wait((flushed, reading), timeout=FLUSH_S, return_when=asyncio.FIRST_COMPLETED)
                flushed.cancel()
        finally:
            for task in tasks:
                task.cancel()
            for end in await asyncio.gather(*tasks, return_exceptions=True):
                # A broken stream raises in all of them; anything else is a fault of ours, and costs this link alone.
                if isinstance(end, Exception) and not isinstance(end, LinkBroken):
                    log.error("link of router %s", self.name, exc_info=end)
            for future in self._fetching.values():
                if not future.done():
                    future.set_result(None)
            self._events.router_gone(self)

    async def _read(self, stream: NodeEnd) -> None:
        while (frames := await stream.read()) is not EOF:
            self._take(frames)

    def _take(self, frames: link_pb2.RouterFrames) -> None:
        if frames.epoch:
            self.epoch = frames.epoch
        if frames.submits:
            self._events.submitted(self, frames.submits)
        if frames.cancels:
            self._events.cancelled(self, frames.cancels)
        for credit in frames.credits:
            self._events.granted(self, credit.job, credit.chunks)
        for payload in frames.payloads:
            future = self._fetching.get(payload.job)
            if future is not None and not future.done():
                future.set_result(None if payload.gone else payload.data)
        if frames.HasField("pong"):
            pong = frames.pong
            self.clock_offset.observe(
                sent_s=pong.node_us / 1e6, received_s=self._clock(), theirs_s=pong.router_us / 1e6
            )

    async def _ping(self) -> None:
        """Keeps the clock offset current and shows the router that this node lives."""
        sent = 0
        while True:
            self._outbox.frames().ping.node_us = int(self._clock() * 1e6)
            self.tell_state()
            sent += 1
            await asyncio.sleep(FIRST_PING_S if sent < FIRST_PINGS else PING_S)
