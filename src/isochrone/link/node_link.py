"""The router's end of a link: dials a node, keeps the stream, and turns frames into calls."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from isochrone.deadline import Clock, monotonic
from isochrone.link import version
from isochrone.link.outbox import Outbox
from isochrone.link.stream import EOF, Dial, LinkBroken, Untrusted, dial
from isochrone.v1 import link_pb2

log = logging.getLogger(__name__)

SILENT_S = 0.7
"""A node that pings every 0.2 s and hasn't been heard for this long gets nothing addressed to it."""
REDIAL_FIRST_S, REDIAL_MOST_S = 0.05, 1.0


class LinkState(StrEnum):
    DIALLING = "dialling"
    LINKED = "linked"
    SILENT = "silent"
    DRAINING = "draining"
    REFUSED = "refused"
    SPARE = "spare"
    """Another address of a node to which a link is up: open, and ready to take over."""


class LinkEvents(Protocol):
    """Who is told what comes over a link. Calls are short and never await."""

    def is_linked(self, node: int) -> bool:
        """Whether a link to the node of that boot id is up."""

    def link_up(self, link: NodeLink) -> None: ...
    def link_down(self, link: NodeLink) -> None: ...
    def link_changed(self, link: NodeLink) -> None: ...
    def claimed(self, link: NodeLink, jobs: Sequence[int], finish_in_s: float) -> None: ...
    def chunk(self, link: NodeLink, chunk: link_pb2.Chunk) -> None: ...
    def batch_done(self, link: NodeLink, done: link_pb2.BatchDone) -> None: ...
    def returned(self, link: NodeLink, jobs: Sequence[int]) -> None: ...
    def reported(self, link: NodeLink) -> None: ...
    def payload_of(self, job: int) -> bytes | None: ...


class NodeLink:
    """A link to the node at one address, dialled again and again until closed."""

    def __init__(
        self,
        address: str,
        *,
        hello: link_pb2.Hello,
        events: LinkEvents,
        clock: Clock = monotonic,
        dial: Dial = dial,
    ) -> None:
        self.address = address
        self.state = LinkState.DIALLING
        self.welcome = link_pb2.Welcome()
        self.variants: dict[str, link_pb2.Variant] = {}
        """What the node serves, by lane."""
        self.report = link_pb2.NodeState()
        """The node's last word on its lanes and backlog."""
        self.trouble = ""
        """Why there is no link, in words, while there is none."""
        self._hello = hello
        self._events = events
        self._clock = clock
        self._dial = dial
        self._outbox: Outbox[link_pb2.RouterFrames] = Outbox(link_pb2.RouterFrames)
        self._heard_s = clock()
        self._up = False
        self._ready = False
        self._needed = asyncio.Event()
        self.has_left = False
        """Its node said that it was leaving, and then the link ended: it claims nothing more."""
        self.given = 0
        """Jobs of ours that it holds, addressed or claimed."""
        self.free_at_s = 0.0
        """When what it has should be done, by its own last word; on our clock."""

    def __repr__(self) -> str:
        return f"<NodeLink {self.welcome.name or '?'} at {self.address} {self.state}>"

    @property
    def name(self) -> str:
        return self.welcome.name or self.address

    @property
    def node(self) -> int:
        """The node's boot id; 0 before the first welcome."""
        return int(self.welcome.node)

    @property
    def takes_jobs(self) -> bool:
        """Whether a job may be addressed to it now."""
        return self.state is LinkState.LINKED

    def submit(self, job: link_pb2.Job) -> None:
        self._outbox.frames().submits.append(job)

    def cancel(self, job: int) -> None:
        if self._up:
            self._outbox.frames().cancels.append(job)

    def grant(self, job: int, chunks: int) -> None:
        """Lets the node send so many more chunks of a job's answer."""
        if self._up:
            self._outbox.frames().credits.add(job=job, chunks=chunks)

    def tell_epoch(self, epoch: int) -> None:
        self._hello.epoch = epoch
        if self._up:
            self._outbox.frames().epoch = epoch

    def drain(self) -> None:
        """Tells the node that nothing more will come."""
        if self._up:
            self._outbox.frames().drain = True

    def check_silence(self) -> None:
        """Marks a node that hasn't been heard of lately; called on the owner's heartbeat."""
        if self.state is LinkState.LINKED and self._clock() - self._heard_s > SILENT_S:
            log.warning("node %s is silent", self.name)
            self._become(LinkState.SILENT)

    async def run(self) -> None:
        """Dials and serves the link until cancelled."""
        wait_s = REDIAL_FIRST_S
        while True:
            try:
                await self._serve_once()
            except Untrusted as error:
                self._refused(str(error))
            except LinkBroken as error:
                log.debug("link to %s: %s", self.address, error)
                if self.state is not LinkState.REFUSED:  # a refusal says more than a connection that was reset
                    self.trouble = str(error)
            except Exception:
                # A fault of ours: the link is dialled anew, so that it costs what was under way and no more.
                log.exception("link to %s", self.address)
            finally:
                was_up = self._up
                self._went_down()
            wait_s = REDIAL_FIRST_S if was_up else min(2 * wait_s, REDIAL_MOST_S)
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))

    async def _serve_once(self) -> None:
        """One connection, from Hello to its end."""
        async with self._dial(self.address) as stream:
            self._hello.router_us = int(self._clock() * 1e6)
            await stream.write(link_pb2.RouterFrames(hello=self._hello))
            first = await stream.read()
            if first is EOF or not self._accept(first):
                return
            reading = asyncio.create_task(stream.read(), name=f"first from {self.name}")
            tasks: list[asyncio.Task[Any]] = [reading]
            try:
                if self.state is LinkState.SPARE and not await self._stand_by(reading):
                    return
                tasks.append(asyncio.create_task(self._outbox.write_all(stream.write), name=f"link to {self.name}"))
                frames = await reading
                while frames is not EOF:
                    self._take(frames)
                    frames = await stream.read()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)  # on a broken stream they raise as well

    def _accept(self, first: link_pb2.NodeFrames) -> bool:
        welcome = first.welcome
        if welcome.refusal or version.agreed(welcome.version, welcome.version) is None:
            reason = welcome.refusal or version.refusal("the node", welcome.version, welcome.version)
            self._refused(reason)
            return False
        self.welcome = welcome
        self.variants = {variant.lane: variant for variant in welcome.variants}
        if self._events.is_linked(self.node):
            # The node has not taken this link for real yet: that it does with the first frame after the Welcome.
            if self.state is not LinkState.SPARE:
                log.info("node at %s is %s, which is linked already", self.address, self.name)
                self._become(LinkState.SPARE)
            return True
        self._begin()
        return True

    def _refused(self, reason: str) -> None:
        """Either end won't have the other. It is dialled all the same: whoever mends that restarts nothing."""
        if (self.state, self.trouble) != (LinkState.REFUSED, reason):
            log.error("node at %s: %s", self.address, reason)
        self.trouble = reason
        if not self._up and self.state is not LinkState.REFUSED:
            self._become(LinkState.REFUSED)

    def take_over(self) -> None:
        """The other link to this spare one's node is gone."""
        if self.state is LinkState.SPARE and self._ready:
            self._begin()
            self._needed.set()

    async def _stand_by(self, reading: asyncio.Task[link_pb2.NodeFrames]) -> bool:
        """Waits until it is needed; False where the stream ends before that."""
        self._needed.clear()
        needed = asyncio.create_task(self._needed.wait())
        self._ready = True
        try:
            await asyncio.wait((needed, reading), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ready = False
            needed.cancel()
        return self._up

    def _begin(self) -> None:
        """The link counts from now on."""
        self._outbox = Outbox(link_pb2.RouterFrames)
        self._outbox.frames().epoch = self._hello.epoch
        self._heard_s = self._clock()
        self._up = True
        self.trouble = ""
        self.state = LinkState.LINKED
        log.info("linked to node %s at %s", self.name, self.address)
        self._events.link_up(self)

    def _take(self, frames: link_pb2.NodeFrames) -> None:
        self._heard_s = self._clock()
        if self.state is LinkState.SILENT:
            self._become(LinkState.LINKED)
        for claim in frames.claims:
            if not claim.beside:
                self.free_at_s = self._heard_s + claim.finish_in_us / 1e6
            self._events.claimed(self, claim.jobs, claim.finish_in_us / 1e6)
        for job in frames.fetches:
            data = self._events.payload_of(job)
            self._outbox.frames().payloads.add(job=job, data=data or b"", gone=data is None)
        for chunk in frames.chunks:
            self._events.chunk(self, chunk)
        for done in frames.batches:
            self._events.batch_done(self, done)
        if frames.returns:
            self._events.returned(self, frames.returns)
        if frames.HasField("ping"):
            pong = self._outbox.frames().pong
            pong.node_us = frames.ping.node_us
            pong.router_us = int(self._clock() * 1e6)
        if frames.HasField("state"):
            changed = frames.state.claiming != self.report.claiming
            self.report = frames.state
            self.free_at_s = self._heard_s + frames.state.busy_us / 1e6
            self._events.reported(self)
            if changed:
                self._events.link_changed(self)
        if frames.drain and self.state is not LinkState.DRAINING:
            self._become(LinkState.DRAINING)

    def _become(self, state: LinkState) -> None:
        self.state = state
        self._events.link_changed(self)

    def _went_down(self) -> None:
        if not self._up:
            return
        self._up = False
        self.given, self.free_at_s = 0, 0.0
        self.report = link_pb2.NodeState()
        self.has_left = self.state is LinkState.DRAINING
        if not self.has_left:
            log.warning("link to node %s is down", self.name)
        self.state = LinkState.DIALLING
        self._events.link_down(self)
