"""A lane gate before a Redis that does as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from fakes import LANE, FakeLanes, flight
from isochrone.keys import Queue, Tier
from isochrone_router.lane_gate import LaneGate

STALL_S = 0.05
LINGER_S = 0.001


@dataclass
class Redis:
    """A Redis that lets a gate in, or doesn't."""

    away: Exception | None = None
    opened: list[FakeLanes] = field(default_factory=list)
    silent: bool = False
    """Takes connections and answers nothing."""

    async def open(self) -> FakeLanes:
        if self.away is not None:
            raise self.away
        self.opened.append(FakeLanes())
        self.opened[-1].prompt = not self.silent
        return self.opened[-1]

    @property
    def lanes(self) -> FakeLanes:
        return self.opened[-1]


@dataclass
class Gated:
    """A gate, its Redis, and the states it has told of, each with its epoch."""

    redis: Redis
    gate: LaneGate
    told: list[tuple[str, int]]
    others: dict[Queue, int]
    """Jobs of other routers, by the last word."""

    def depth(self, lane: str = LANE) -> int:
        """Jobs in all of a lane's queues or on their way there, ours and others'."""
        queues = [Queue(lane, tier) for tier in Tier]
        there = sum(max(0, self.gate._unclaimed.get(queue, 0) + self.others.get(queue, 0)) for queue in queues)
        return there + sum(len(self.gate._buffers[queue]) for queue in queues)


@asynccontextmanager
async def gated(redis: Redis | None = None, *, pressure: Callable[[], float] = lambda: 0.0) -> AsyncIterator[Gated]:
    redis = redis or Redis()
    told: list[tuple[str, int]] = []
    others: dict[Queue, int] = {}
    gate = LaneGate(
        redis.open,
        on_count=others.__setitem__,
        on_change=lambda: told.append((str(gate.state), gate.epoch)),
        stall_s=STALL_S,
        clock=asyncio.get_running_loop().time,
        pressure=pressure,
    )
    await gate.start()
    running = asyncio.create_task(gate.run())
    yield Gated(redis, gate, told, others)
    running.cancel()
    gate.close()


async def waiting_unclaimed(at: Gated) -> None:
    """Pushes a job that no node claims."""
    at.gate.submit(flight(), linger_s=0)
    await asyncio.sleep(0)
    assert len(at.redis.lanes.pushes) == 1
