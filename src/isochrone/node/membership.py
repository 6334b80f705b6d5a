"""A node's place in the mesh: announces it, and says from which lanes it may claim.

A lane doesn't know of links. A node that claimed the job of a router it can't reach could not answer it, so it
claims only from lanes all of whose living users it is linked to.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from isochrone.keys import HEARTBEAT_S
from isochrone.lane import Claimed
from isochrone.node.intake import Intake
from isochrone.registry import Census, LaneRecord, NodeRecord, Registry, RegistryUnavailable
from isochrone.v1 import link_pb2

log = logging.getLogger(__name__)


class Membership:
    """Beats once a second, and at once when asked."""

    def __init__(
        self,
        registry: Registry,
        intake: Intake,
        *,
        record: NodeRecord,
        claims: Callable[[], frozenset[str]],
        allow: Callable[[frozenset[str], Census], None],
        latency: Callable[[], Mapping[str, LaneRecord]] = dict,
    ) -> None:
        """`latency`: how long batches take now, by lane."""
        self._registry = registry
        self._intake = intake
        self._record = record
        self._claims = claims
        self._allow = allow
        self._latency = latency
        self._leaving = False
        self._registry_answers = True
        self._again = asyncio.Event()

    def check_soon(self) -> None:
        """Something changed: look at the registry now."""
        self._again.set()

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            await self._beat()
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._again.wait()
                self._again.clear()
            except TimeoutError:
                pass

    async def leave(self) -> None:
        """Takes the record away, so that nobody dials a node that is going."""
        self._leaving = True
        try:
            await self._registry.leave(self._record)
        except RegistryUnavailable:
            log.debug("left without telling the registry")

    async def orphans_found(self, orphans: list[Claimed]) -> bool:
        """Whether any of these jobs' routers lives, by a census taken now; routers that live are waited for."""
        boots = {link_pb2.Job.FromString(orphan.entry.member).router for orphan in orphans}
        try:
            census = await self._registry.read()
        except RegistryUnavailable:
            return True
        found = bool(boots & {router.boot for router in census.routers})
        # A router that can't reach this node yields the lane, with jobs still in it: until the next beat they are
        # left to others, or they would go round in circles.
        self._apply(census, but_not=frozenset(orphan.lane for orphan in orphans if found))
        return found

    async def _beat(self) -> None:
        if self._leaving:
            return
        claims = tuple(sorted(self._claims()))
        try:
            census = await self._registry.beat(
                self._record.model_copy(update={"claims": claims, "latency": self._latency()})
            )
        except RegistryUnavailable as error:
            if self._registry_answers:
                log.warning("the registry is out of reach: %s", error)
            self._registry_answers = False
            return
        self._registry_answers = True
        self._apply(census)

    def _apply(self, census: Census, *, but_not: frozenset[str] = frozenset()) -> None:
        unlinked = [router for router in census.routers if not self._intake.is_linked(router.boot)]
        blind = {lane for router in unlinked for lane in router.uses}
        before = self._claims()
        self._allow(frozenset(self._record.lanes) - blind - but_not, census)
        if self._claims() != before:
            self._again.set()  # routers are to know before they push to a lane that this node claims from
