"""The lane: a shared queue of one variant's jobs on one device class, most urgent first.

A job in a lane is opaque bytes with the time it is due as its score. Claiming removes it; whoever claims a job
owns it, and only the router that pushed it may send it again. `isochrone.redis_lane` has the lanes that processes
share, `isochrone.memory_broker` their twin in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from isochrone.keys import TIERS, Queue, Tier


class Entry(NamedTuple):
    """A job in a lane: when it is due (seconds on the lane's own clock, only ever compared) and its bytes."""

    due: float
    member: bytes


class Claimed(NamedTuple):
    lane: str
    tier: Tier
    entry: Entry


class Want(NamedTuple):
    """How many jobs of a lane to claim at most, and of which tiers: preferred first."""

    most: int
    tiers: Mapping[Tier, int] | None = None
    """None: of any, higher tiers first."""

    @property
    def by_tier(self) -> Mapping[Tier, int]:
        return dict.fromkeys(TIERS, self.most) if self.tiers is None else self.tiers


Wants = Mapping[str, Want]
"""By lane."""


class LaneUnavailable(Exception):
    """The lane can't be reached or won't take more; the mesh goes on over the links."""


class RouterLanes(Protocol):
    """What a router does with lanes, over one connection. The futures may raise LaneUnavailable."""

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection has ended, however it ended."""

    def close(self) -> None: ...

    def ping(self) -> asyncio.Future[float]:
        """The lanes' own clock, in seconds: the origin that all routers' scores share."""

    def push(self, lane: str, tier: Tier, entries: Sequence[Entry]) -> asyncio.Future[int]:
        """Adds jobs in one step. Gives how many then wait in that lane and tier."""

    def remove(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[int]:
        """Takes jobs out that are still there. Gives how many were."""

    def present(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[list[bool]]:
        """Which of the jobs still wait."""

    def count(self, lane: str, tier: Tier) -> asyncio.Future[int]:
        """How many jobs wait."""


class NodeLanes(Protocol):
    """What a node does with lanes. Every coroutine may raise LaneUnavailable."""

    @property
    def left(self) -> Mapping[Queue, int]:
        """How many jobs waited in each queue behind those of the last claim."""

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when the connection has ended, however it ended."""

    def close(self) -> None: ...

    async def wait(self, wants: Wants) -> list[Claimed]:
        """Claims what is wanted, waiting for the first job of any tier of these lanes however long it takes.
        One `wait` at a time; gives nothing when interrupted."""

    async def interrupt(self) -> None:
        """Ends the `wait` under way without losing a job that it may just have claimed."""

    async def claim(self, wants: Wants) -> list[Claimed]:
        """Claims what is wanted of the jobs that wait now."""

    async def put_back(self, claimed: Sequence[Claimed]) -> None:
        """Returns jobs with the score they had."""
