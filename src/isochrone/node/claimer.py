"""Claims jobs from the lanes for one node, and copes with Redis coming and going."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any

from isochrone.deadline import Clock
from isochrone.errors import ConfigError
from isochrone.keys import TIERS, Queue
from isochrone.lane import Claimed, LaneUnavailable, NodeLanes, Want, Wants
from isochrone.node.intake import Intake
from isochrone.node.lead import Lead
from isochrone.node.served import Served
from isochrone.shares import Shares

log = logging.getLogger(__name__)

RECONNECT_FIRST_S, RECONNECT_MOST_S = 0.05, 1.0
AT_ONCE_S = 0.003
"""How long a device that could run something waits for something better."""
CLOSE_S = 1.0
"""How long a last claim may take to end."""

OpenLanes = Callable[[], Awaitable[NodeLanes]]
OrphansFound = Callable[[list[Claimed]], Awaitable[bool]]
"""Says whether the routers of these orphans live: their jobs then go back to the lane, else they are dropped."""


class Claimer:
    """Holds at most one waiting and one prompt claim at a time. The node loop says when; this says how many."""

    def __init__(
        self,
        served: Mapping[str, Served],
        intake: Intake,
        *,
        open_lanes: OpenLanes | None,
        orphans_found: OrphansFound,
        shares: Shares,
        clock: Clock,
    ) -> None:
        self._served = served
        self._intake = intake
        self._open_lanes = open_lanes
        self._orphans_found = orphans_found
        self._shares = shares
        self._clock = clock
        self._lead = Lead()
        self._lanes: NodeLanes | None = None
        self._allowed: frozenset[str] = frozenset()
        self._wanted = False
        self._waits_on: frozenset[str] = frozenset()
        self._waiting: asyncio.Task[None] | None = None
        self._prompt: asyncio.Task[None] | None = None
        self._others: set[asyncio.Task[None]] = set()
        self._reconnect_s = RECONNECT_FIRST_S
        self.siblings: dict[str, int] = {}
        """How many nodes claim from each lane, this one counted: an idle one leaves work for the others."""

    def __repr__(self) -> str:
        if self._lanes is None:
            return "<Claimer without lanes>"
        doing = "waiting" if self._waiting else "claiming" if self._prompt else "idle"
        return f"<Claimer {doing}, may claim from {', '.join(sorted(self._allowed)) or 'no lane'}>"

    @property
    def connected(self) -> bool:
        return self._lanes is not None

    @property
    def allowed(self) -> frozenset[str]:
        """Lanes it may claim from now."""
        return self._allowed if self._lanes is not None else frozenset()

    @property
    def lead_s(self) -> float:
        """How long before its batch ends a node should claim the next."""
        return self._lead.seconds

    def allow(self, lanes: Collection[str]) -> None:
        """Sets the lanes to claim from. A wait under way on others is ended."""
        allowed = frozenset(lanes)
        if allowed == self._allowed:
            return
        self._allowed = allowed
        if self._waiting is not None:
            self._start(self._interrupt())
        elif self._wanted:
            self.wait_for_work()

    def forgo(self, lanes: Collection[str]) -> None:
        """Leaves these lanes to others, until allowed again."""
        self.allow(self._allowed.difference(lanes))

    def wait_for_work(self) -> None:
        """Sees to it that a job that comes up is claimed: the device is free and nothing is staged."""
        self._wanted = True
        if self._lanes is None or self._brings_enough:
            return
        lanes = frozenset(lane for lane in self._allowed if self._served[lane].jobs_wanted > 0)
        if self._waiting is not None:
            if lanes - self._waits_on:  # a lane that had no room when the wait began has some now
                self._start(self._interrupt())
        elif lanes:
            # An idle node takes what there is of any tier: which they are, nobody has counted.
            wants = {lane: Want(-(-self._served[lane].jobs_wanted // self._siblings(lane))) for lane in sorted(lanes)}
            self._waits_on = lanes
            self._waiting = asyncio.create_task(self._wait(self._lanes, wants), name="wait for work")

    def claim_ahead(self) -> None:
        """Claims the next batch while the present one is about to end."""
        if self._prompt is None and self._lanes is not None:
            wants = {
                lane: Want(wanted, self._shares.divided(wanted, self._served[lane].left))
                for lane in sorted(self._allowed)
                if (wanted := self._served[lane].jobs_wanted) > 0
            }
            if wants:
                self._prompt = asyncio.create_task(self._claim(self._lanes, wants), name="claim ahead")

    async def claim_at_once(self) -> None:
        """Claims another batch and waits for it, a moment at most."""
        self.claim_ahead()
        await self.claimed()

    async def claimed(self) -> None:
        """Waits for a claim that is under way, a moment at most. Its jobs would else sit out the next batch, as small
        as that may be."""
        until_s = self._clock() + AT_ONCE_S
        while self._prompt is not None and (left_s := until_s - self._clock()) > 0:
            await asyncio.wait({self._prompt}, timeout=left_s)

    async def start(self) -> None:
        """Connects, if the lanes are there. Raises ConfigError where they refuse this node."""
        if self._open_lanes is not None:
            try:
                self._lanes = await self._open_lanes()
            except LaneUnavailable as error:
                log.warning("starting without lanes; jobs come over the links: %s", error)

    async def run(self) -> None:
        """Keeps a connection to the lanes until cancelled."""
        while self._open_lanes is not None:
            try:
                self._lanes = self._lanes or await self._open_lanes()
            except LaneUnavailable as error:
                log.debug("no lanes: %s", error)
            except ConfigError as error:
                log.error("%s", error)
            else:
                await self._stay(self._lanes)
            await asyncio.sleep(self._reconnect_s)
            self._reconnect_s = min(2 * self._reconnect_s, RECONNECT_MOST_S)

    async def close(self) -> None:
        """Claims nothing more; what was claimed at this moment is still staged."""
        self._allowed = frozenset()
        if self._waiting is not None:
            self._start(self._interrupt())
        tasks = [task for task in (self._waiting, self._prompt, *self._others) if task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        if self._lanes is not None:
            self._lanes.close()  # a Redis that was silent must find nobody here to give jobs to when it wakes

    async def _stay(self, lanes: NodeLanes) -> None:
        """Until the connection is lost."""
        log.info("claiming from the lanes")
        if self._wanted:
            self.wait_for_work()
        try:
            await asyncio.shield(lanes.lost)
        finally:
            lanes.close()
            self._lanes = None
        log.warning("the lanes are out of reach; jobs come over the links")

    async def _wait(self, lanes: NodeLanes, wants: Wants) -> None:
        began_s = self._clock()
        try:
            claimed = await lanes.wait(wants)
            self._reconnect_s = RECONNECT_FIRST_S
        except LaneUnavailable as error:
            self._leave(lanes, error)
            return  # it waits again on the next connection
        finally:
            self._waiting = None
        self._count(lanes, wants)
        self._stage(claimed)
        if self._clock() - began_s > self.lead_s:  # what was there at once had waited for a node
            self._learn(claimed)
        # Whatever was claimed may have expired, or be on its way: then there is nothing for the device yet.
        self._wanted = not any(self._served[lane].staging for lane in wants)
        if self._wanted and lanes is self._lanes:
            self.wait_for_work()
        else:
            self._claim_more(claimed)

    @property
    def _brings_enough(self) -> bool:
        """Whether a claim is under way for all that the node could run: another beside it would bring what has to wait
        here while siblings are free. What runs beside other jobs needs not wait."""
        return self._prompt is not None and not any(served.runs_beside for served in self._served.values())

    async def _claim(self, lanes: NodeLanes, wants: Wants) -> None:
        began_s = self._clock()
        try:
            claimed = await lanes.claim(wants)
        except LaneUnavailable as error:
            self._leave(lanes, error)
            return
        finally:
            self._prompt = None
        self._lead.took(self._clock() - began_s)
        self._count(lanes, wants)
        self._stage(claimed)
        if self._wanted and not any(self._served[lane].staging for lane in wants) and lanes is self._lanes:
            self.wait_for_work()  # as was asked meanwhile
        else:
            self._claim_more(claimed)

    def _claim_more(self, claimed: Sequence[Claimed]) -> None:
        """A claim asks for what was known to wait when the one before it came back, and an idle node for a part of
        that. Where it turns out that much more waits than that, the next batch isn't made of so little."""
        if claimed and any(self._served[lane].is_short(self._lead.claim_s) for lane in self._allowed):
            self.claim_ahead()

    def _siblings(self, lane: str) -> int:
        return max(1, self.siblings.get(lane, 1))

    def _count(self, lanes: NodeLanes, wants: Wants) -> None:
        """How much waits behind what was claimed."""
        for lane in wants:
            served = self._served[lane]
            served.left = {tier: lanes.left.get(Queue(lane, tier), 0) for tier in TIERS}
            served.siblings = self._siblings(lane)

    def _learn(self, claimed: Sequence[Claimed]) -> None:
        """Jobs that came while an idle node waited for them have not waited themselves."""
        for lane in {claim.lane for claim in claimed}:
            self._served[lane].came_to_idle()

    async def _interrupt(self) -> None:
        lanes = self._lanes
        if lanes is not None:
            try:
                await lanes.interrupt()
            except LaneUnavailable as error:
                self._leave(lanes, error)

    def _leave(self, lanes: NodeLanes, error: LaneUnavailable) -> None:
        """Gives up a connection that broke, or on which Redis refuses what a node must do."""
        if not lanes.lost.done():
            log.warning("the lanes refuse this node: %s", error)
            lanes.close()

    def _stage(self, claimed: list[Claimed]) -> None:
        orphans = self._intake.from_lanes(claimed) if claimed else []
        for lane in {claim.lane for claim in claimed}:
            if self._served[lane].stands_back:  # it has become too slow while the claim was under way
                self._intake.give_back(self._served[lane])
        if orphans:
            # Claim no more from there until it is known who they are.
            self._allowed -= {orphan.lane for orphan in orphans}
            self._start(self._settle_orphans(orphans))

    async def _settle_orphans(self, orphans: list[Claimed]) -> None:
        """A job is neither lost nor passed round in circles: back into the lane, for a node that has the link."""
        if not await self._orphans_found(orphans):
            log.warning("dropped %d jobs of routers that are no more", len(orphans))
            return
        lanes = self._lanes
        if lanes is not None:
            try:
                await lanes.put_back(orphans)
            except LaneUnavailable as error:
                self._leave(lanes, error)  # their router sends them again, since Redis is gone for it too

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)
