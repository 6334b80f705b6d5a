"""The lane: a shared queue of one variant's jobs on one device class, most urgent first.

A job in a lane is opaque bytes with the time it is due as its score. Claiming removes it; whoever claims a job
owns it, and only the router that pushed it may send it again. This file has the protocol and the twin in
memory; `isochrone.redis_lane` has the one that processes share.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from isochrone.keys import Tier

_T = TypeVar("_T")


class Entry(NamedTuple):
    """A job in a lane: when it is due (seconds on the lane's own clock, only ever compared) and its bytes."""

    due: float
    member: bytes


class Claimed(NamedTuple):
    lane: str
    tier: Tier
    entry: Entry


class LaneUnavailable(Exception):
    """The lane can't be reached or won't take more; the mesh goes on over the links."""


class RouterLanes(Protocol):
    """What a router does with lanes. Every method may raise LaneUnavailable."""

    def push(self, lane: str, tier: Tier, entries: Sequence[Entry]) -> asyncio.Future[int]:
        """Adds jobs in one step. Gives how many then wait in that lane and tier."""

    def remove(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[int]:
        """Takes jobs out that are still there. Gives how many were."""

    def present(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[list[bool]]:
        """Which of the jobs still wait."""


class NodeLanes(Protocol):
    """What a node does with lanes. `wants` says how many jobs of each lane, at most. Every method may raise
    LaneUnavailable."""

    async def wait(self, wants: Mapping[str, int]) -> list[Claimed]:
        """Claims what is wanted, higher tiers first, waiting for the first job however long it takes.
        One `wait` at a time; gives nothing when interrupted."""

    async def interrupt(self) -> None:
        """Ends the `wait` under way without losing a job that it may just have claimed."""

    async def claim(self, wants: Mapping[str, int]) -> list[Claimed]:
        """Claims what is wanted of the jobs that wait now."""

    async def put_back(self, claimed: Sequence[Claimed]) -> None:
        """Returns jobs with the score they had."""


@dataclass(slots=True)
class MemoryLanes:
    """RouterLanes and NodeLanes within one process: for tests, and for meshes in one process."""

    queues: dict[tuple[str, Tier], list[Entry]] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _interrupted: bool = False

    def push(self, lane: str, tier: Tier, entries: Sequence[Entry]) -> asyncio.Future[int]:
        queue = self.queues.setdefault((lane, tier), [])
        for entry in entries:
            heapq.heappush(queue, entry)
        self._changed.set()
        return _done(len(queue))

    def remove(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[int]:
        queue = self.queues.get((lane, tier), [])
        before = len(queue)
        gone = set(members)
        queue[:] = [entry for entry in queue if entry.member not in gone]
        heapq.heapify(queue)
        return _done(before - len(queue))

    def present(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[list[bool]]:
        waiting = {entry.member for entry in self.queues.get((lane, tier), [])}
        return _done([member in waiting for member in members])

    async def wait(self, wants: Mapping[str, int]) -> list[Claimed]:
        self._interrupted = False
        while not self._interrupted:
            claimed = await self.claim(wants)
            if claimed:
                return claimed
            self._changed.clear()
            await self._changed.wait()
        return []

    async def interrupt(self) -> None:
        self._interrupted = True
        self._changed.set()

    async def claim(self, wants: Mapping[str, int]) -> list[Claimed]:
        claimed: list[Claimed] = []
        left = dict(wants)
        for tier in Tier:
            for lane in left:
                queue = self.queues.get((lane, tier), [])
                while queue and left[lane] > 0:
                    claimed.append(Claimed(lane, tier, heapq.heappop(queue)))
                    left[lane] -= 1
        return claimed

    async def put_back(self, claimed: Sequence[Claimed]) -> None:
        for lane, tier, entry in claimed:
            self.push(lane, tier, [entry])


def _done(value: _T) -> asyncio.Future[_T]:
    future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future
