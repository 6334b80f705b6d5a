"""The links to all nodes of the mesh, and which lanes are safe to use."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from isochrone.keys import HEARTBEAT_S
from isochrone.link.node_link import LinkState, NodeLink
from isochrone.registry import Census, NodeRecord, Registry, RegistryUnavailable, RouterRecord
from isochrone.v1 import link_pb2
from isochrone_router.lane_view import LaneView, LinkedNode, see_each_other

log = logging.getLogger(__name__)

SILENCE_CHECK_S = 0.2
# States of a link over which something could come at any moment.
_UP = (LinkState.LINKED, LinkState.SILENT, LinkState.DRAINING)
GIVEN_UP_BEATS = 3
"""A node not linked for so many heartbeats counts as out of reach; a new one is given the time to be dialled."""


class Links:
    """Dials every node it hears of, beats in the registry, and keeps the lane views current.

    A router uses a lane only while it is linked to every node that claims from it; a job of ours that such a node
    claimed could not be answered. And it says in the registry that it uses a lane before it does.
    """

    def __init__(
        self,
        lanes: Iterable[LaneView],
        *,
        hello: link_pb2.Hello,
        new_link: Callable[[str, link_pb2.Hello], NodeLink],
        addresses: Sequence[str],
        registry: Registry | None,
        gate_is_up: Callable[[], bool],
        lane_closed: Callable[[str], None],
    ) -> None:
        self.views = {view.lane: view for view in lanes}
        self.links: dict[str, NodeLink] = {}
        self._hello = hello
        self._new_link = new_link
        self._static = tuple(addresses)
        self._registry = registry
        self._gate_is_up = gate_is_up
        self._lane_closed = lane_closed
        self._census = Census()
        self._left: set[int] = set()
        """Nodes that have left in order; the census may still know them."""
        self._declared: frozenset[str] = frozenset()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._unlinked_beats: Counter[int] = Counter()
        self._again = asyncio.Event()
        self._draining = False
        self._registry_answers = True
        self.changed = asyncio.Event()
        """Set whenever a view has changed; whoever waits for that clears it."""

    def __repr__(self) -> str:
        lanes = ", ".join(lane for lane, view in self.views.items() if view.is_open)
        return f"<Links {list(self.links.values())}, open lanes: {lanes or 'none'}>"

    @property
    def routers(self) -> int:
        """How many there were by the last census, ourselves among them."""
        return max(1, len(self._census.routers))

    async def start(self) -> None:
        """Dials the nodes known by address or from the registry."""
        for address in self._static:
            self._dial(address)
        if self._registry is not None:
            await self._beat()

    async def run(self) -> None:
        """Beats, and looks for silent nodes, until cancelled."""
        beat_at = 0
        while True:
            try:
                async with asyncio.timeout(SILENCE_CHECK_S):
                    await self._again.wait()
                self._again.clear()
                beat_at = 0
            except TimeoutError:
                pass
            for link in list(self.links.values()):
                link.check_silence()
            beat_at -= 1
            if self._registry is not None and beat_at <= 0:
                beat_at = int(HEARTBEAT_S / SILENCE_CHECK_S)
                await self._beat()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def leave(self) -> None:
        """Tells nodes and registry that nothing more will come from here."""
        self._draining = True
        for link in self.links.values():
            link.drain()
        if self._registry is not None:
            try:
                await self._registry.leave(self._record())
            except RegistryUnavailable:
                log.debug("left without telling the registry")

    def refresh(self) -> None:
        """Works out the views anew, after a link, the census or Redis has changed."""
        linked = self._linked()
        closed: list[str] = []
        for lane, view in self.views.items():
            serving = [link for link in self.links.values() if lane in link.variants]
            able = [link for link in serving if link.takes_jobs]
            # A node that is silent may be short of a core, no more: better that than nobody.
            able = able or [link for link in serving if link.state is LinkState.SILENT]
            view.nodes = [LinkedNode(link, lane) for link in able]
            claimers = [link for link in able if lane in link.report.claiming]
            usable = self._gate_is_up() and bool(claimers) and not self._out_of_reach(lane, linked)
            if usable and lane not in self._declared:
                self._again.set()  # the registry first; the lane opens with the beat
            is_open = usable and lane in self._declared
            view.forecast.routers = max(1, sum(lane in router.uses for router in self._census.routers))
            if is_open != view.is_open:
                log.info("lane %s: jobs go %s", lane, "through Redis" if is_open else "over the links")
                view.is_open = is_open
                if not is_open:
                    closed.append(lane)
            view.changes += 1
            view.renew()
        see_each_other(self.views.values())
        self.changed.set()
        for lane in closed:  # last: what was in it is sent elsewhere at once, and what fails may be asked for anew
            self._lane_closed(lane)

    def reported(self, link: NodeLink) -> None:
        """A node has said how it is."""
        for lane in link.variants:
            if lane in self.views:
                self.views[lane].renew_soon(link)

    def is_linked(self, node: int) -> bool:
        """Whether a link to the node of that boot id is up, silent or not."""
        return any(link.node == node and link.state in _UP for link in self.links.values())

    def take_over_from(self, link: NodeLink) -> None:
        """Its node has left, or is linked by another address, if there is one."""
        if link.has_left:
            self._left.add(link.node)
        for other in self.links.values():
            if other is not link and other.node == link.node and not self.is_linked(link.node):
                other.take_over()

    def tell_epoch(self, epoch: int) -> None:
        self._hello.epoch = epoch
        for link in self.links.values():
            link.tell_epoch(epoch)

    def _dial(self, address: str) -> None:
        if address not in self.links:
            hello = link_pb2.Hello()
            hello.CopyFrom(self._hello)
            link = self.links[address] = self._new_link(address, hello)
            self._tasks[address] = asyncio.create_task(link.run(), name=f"link to {address}")

    def _linked(self) -> set[int]:
        """Nodes whose claims and answers we hear. A silent one may claim a job of ours and not be heard of again."""
        return {link.node for link in self.links.values() if link.state in (LinkState.LINKED, LinkState.DRAINING)}

    def _out_of_reach(self, lane: str, linked: set[int]) -> list[NodeRecord]:
        """Living nodes that could claim a job of ours from the lane and not answer it. Where a link can't be made,
        it is the router that yields the lane: the node goes on claiming for those who reach it."""
        return [
            node
            for node in self._census.nodes
            if node.boot not in linked
            and node.boot not in self._left
            and (lane in node.claims or (lane in node.lanes and self._unlinked_beats[node.boot] >= GIVEN_UP_BEATS))
        ]

    def _record(self) -> RouterRecord:
        usable = self._gate_is_up() and not self._draining
        linked = self._linked()
        uses = tuple(
            lane for lane, view in self.views.items() if usable and view.nodes and not self._out_of_reach(lane, linked)
        )
        return RouterRecord(boot=self._hello.router, name=self._hello.name, uses=uses)

    async def _beat(self) -> None:
        assert self._registry is not None
        if self._draining:
            return
        record = self._record()
        try:
            self._census = await self._registry.beat(record)
        except RegistryUnavailable as error:
            if self._registry_answers:
                log.warning("the registry is out of reach: %s", error)
            self._registry_answers = False
            return
        self._registry_answers = True
        self._left &= {node.boot for node in self._census.nodes}
        self._declared = frozenset(record.uses)
        linked = self._linked()
        unlinked = [node.boot for node in self._census.nodes if node.boot not in linked]
        self._unlinked_beats = Counter({boot: self._unlinked_beats[boot] + 1 for boot in unlinked})
        known = {node.address for node in self._census.nodes}
        for address in sorted(known):
            self._dial(address)
        for address, link in list(self.links.items()):
            if address not in known and address not in self._static and link.state not in _UP:
                del self.links[address]
                self._tasks.pop(address).cancel()
        self.refresh()
