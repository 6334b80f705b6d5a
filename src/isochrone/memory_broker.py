"""What Redis is to a mesh of several processes, within one: lanes, registry and quotas for tests and for LocalMesh."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from isochrone.deadline import Clock
from isochrone.keys import RECORD_TTL_MS, TIERS, Queue, Tier
from isochrone.lane import Claimed, Entry, LaneUnavailable, Wants
from isochrone.memory_quotas import MemoryQuotas
from isochrone.registry import Census, NodeRecord, RegistryUnavailable, RouterRecord, kind_of

_T = TypeVar("_T")


class MemoryBroker:
    """Broker for routers and nodes of one process and one clock. Can be lost, and comes back empty."""

    def __init__(self, *, clock: Clock) -> None:
        self.lanes = MemoryLanes(clock)
        self.records = MemoryRegistry(clock)
        self.kept = MemoryQuotas(clock)

    def __repr__(self) -> str:
        return f"<MemoryBroker {self.lanes!r}>"

    async def router_lanes(self) -> MemoryRouterLanes:
        return self.lanes.router_end()

    async def node_lanes(self) -> MemoryNodeLanes:
        return self.lanes.node_end()

    def registry(self) -> MemoryRegistry:
        return self.records

    def quotas(self) -> MemoryQuotas:
        return self.kept

    def lose(self) -> None:
        """As a Redis that is killed: gone, with all jobs and records, and every connection ends."""
        self.lanes.lose()
        self.records.lose()
        self.kept.lose()

    def restore(self) -> None:
        """It is back, empty."""
        self.lanes.is_up = self.records.is_up = self.kept.is_up = True


class MemoryLanes:
    """Lanes within one process. Each router and node has an end of its own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.queues: dict[tuple[str, Tier], list[Entry]] = {}
        self.ends: list[_End] = []
        self.waiting: dict[MemoryNodeLanes, None] = {}
        """Nodes that wait for a job, the one that waits longest first: it is served first, as in Redis."""
        self.is_up = True

    def __repr__(self) -> str:
        waiting = ", ".join(f"{len(queue)} in {lane} {tier}" for (lane, tier), queue in self.queues.items() if queue)
        return f"<MemoryLanes {'up' if self.is_up else 'away'}, {waiting or 'empty'}>"

    def router_end(self) -> MemoryRouterLanes:
        """A connection. Raises LaneUnavailable while the lanes are away."""
        return MemoryRouterLanes(self)

    def node_end(self) -> MemoryNodeLanes:
        """A connection. Raises LaneUnavailable while the lanes are away."""
        return MemoryNodeLanes(self)

    def lose(self) -> None:
        """Goes away with all its jobs, as a Redis that is killed does."""
        self.is_up = False
        self.queues.clear()
        for end in list(self.ends):
            end.close()

    def add(self, lane: str, tier: Tier, entries: Iterable[Entry]) -> int:
        """Gives how many then wait. One that is there already gets the new score, as ZADD has it."""
        queue = self.queues.setdefault((lane, tier), [])
        scores = {member: due for due, member in (*queue, *entries)}
        queue[:] = [Entry(due, member) for member, due in scores.items()]
        heapq.heapify(queue)
        for end in self.waiting:
            end.wake()
        return len(queue)

    def pop(self, wants: Wants) -> list[Claimed]:
        claimed: list[Claimed] = []
        left = {lane: want.most for lane, want in wants.items()}
        orders = {lane: list(want.by_tier) for lane, want in wants.items()}
        for at in range(len(Tier)):
            for lane, order in orders.items():
                if at < len(order):
                    queue = self.queues.get((lane, order[at]), [])
                    for _ in range(min(left[lane], wants[lane].by_tier[order[at]], len(queue))):
                        claimed.append(Claimed(lane, order[at], heapq.heappop(queue)))
                        left[lane] -= 1
        return claimed

    def counts(self, wants: Wants) -> dict[Queue, int]:
        """How many wait in each of those lanes and tiers."""
        return {Queue(lane, tier): len(self.queues.get((lane, tier), [])) for lane in wants for tier in TIERS}


class _End:
    """What both kinds of end have: they can be lost."""

    def __init__(self, lanes: MemoryLanes) -> None:
        if not lanes.is_up:
            raise LaneUnavailable("they are away")
        self._lanes = lanes
        lanes.ends.append(self)
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def close(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
            self._lanes.ends.remove(self)

    def _check(self) -> None:
        if self.lost.done():
            raise LaneUnavailable("the connection is closed")


class MemoryRouterLanes(_End):
    """RouterLanes on MemoryLanes."""

    def push(self, lane: str, tier: Tier, entries: Sequence[Entry]) -> asyncio.Future[int]:
        return self._answer(lambda: self._lanes.add(lane, tier, entries))

    def remove(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[int]:
        def removed() -> int:
            queue = self._lanes.queues.get((lane, tier), [])
            before = len(queue)
            queue[:] = [entry for entry in queue if entry.member not in members]
            heapq.heapify(queue)
            return before - len(queue)

        return self._answer(removed)

    def present(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[list[bool]]:
        waiting = {entry.member for entry in self._lanes.queues.get((lane, tier), [])}
        return self._answer(lambda: [member in waiting for member in members])

    def count(self, lane: str, tier: Tier) -> asyncio.Future[int]:
        return self._answer(lambda: len(self._lanes.queues.get((lane, tier), [])))

    def ping(self) -> asyncio.Future[float]:
        return self._answer(self._lanes.clock)

    def _answer(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        try:
            self._check()
            future.set_result(work())
        except LaneUnavailable as error:
            future.set_exception(error)
            future.exception()  # read by whoever still waits, and nobody need
        return future


class MemoryNodeLanes(_End):
    """NodeLanes on MemoryLanes."""

    def __init__(self, lanes: MemoryLanes) -> None:
        super().__init__(lanes)
        self._woken = asyncio.Event()
        self._interrupted = False
        self.left: dict[Queue, int] = {}

    def close(self) -> None:
        super().close()
        self.wake()

    def wake(self) -> None:
        self._woken.set()

    async def wait(self, wants: Wants) -> list[Claimed]:
        self._interrupted = False
        self._lanes.waiting[self] = None
        try:
            while True:
                claimed = await self.claim(wants)
                if claimed or self._interrupted:
                    return claimed
                self._woken.clear()
                await self._woken.wait()
        finally:
            del self._lanes.waiting[self]

    async def interrupt(self) -> None:
        self._check()
        self._interrupted = True
        self.wake()

    async def claim(self, wants: Wants) -> list[Claimed]:
        self._check()
        claimed = self._lanes.pop(wants)
        self.left.update(self._lanes.counts(wants))
        return claimed

    async def put_back(self, claimed: Sequence[Claimed]) -> None:
        self._check()
        for lane, tier, entry in claimed:
            self._lanes.add(lane, tier, [entry])


class MemoryRegistry:
    """Registry within one process."""

    def __init__(self, clock: Clock) -> None:
        self.is_up = True
        self._clock = clock
        self._records: dict[tuple[str, int], tuple[RouterRecord | NodeRecord, float]] = {}

    async def beat(self, record: RouterRecord | NodeRecord) -> Census:
        self._check()
        self._records[kind_of(record), record.boot] = (record, self._clock() + RECORD_TTL_MS / 1e3)
        return await self.read()

    async def read(self) -> Census:
        self._check()
        now_s = self._clock()
        self._records = {key: kept for key, kept in self._records.items() if kept[1] > now_s}
        records = [self._records[key][0] for key in sorted(self._records)]
        return Census(
            tuple(record for record in records if isinstance(record, RouterRecord)),
            tuple(record for record in records if isinstance(record, NodeRecord)),
        )

    async def leave(self, record: RouterRecord | NodeRecord) -> None:
        self._check()
        self._records.pop((kind_of(record), record.boot), None)

    async def close(self) -> None:
        """Nothing to close: others may still use it."""

    def lose(self) -> None:
        self.is_up = False
        self._records.clear()

    def _check(self) -> None:
        if not self.is_up:
            raise RegistryUnavailable("it is away")
