"""The router's way into Redis: whether it is there, and jobs on their way to the lanes."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

from isochrone.deadline import Clock
from isochrone.errors import ConfigError
from isochrone.keys import HEARTBEAT_S, Queue, Tier
from isochrone.lane import Entry, LaneUnavailable, RouterLanes
from isochrone_router.flight import Flight

log = logging.getLogger(__name__)

RETRY_FIRST_S, RETRY_MOST_S = 0.1, 2.0
REFUSED_S = 2.0
"""A Redis that is full or denies us is tried again after this."""
PUSH_AT_ONCE = 32
"""Jobs that go together without waiting for more."""


LINGER_SHARE = 0.2
"""The most of its objective that a job may wait for company."""


def lingering_s(most_s: float, *, objective_s: float, spare_s: float) -> float:
    """How long a job may wait for company: no longer than is to spare between what its plan takes, at the quantile of
    the target, and its objective. Company saves CPU; under load it would cost the tight ones their promise."""
    return max(0.0, min(most_s, LINGER_SHARE * objective_s, spare_s))


class GateState(StrEnum):
    NONE = "none"
    UP = "up"
    STALLED = "stalled"
    DOWN = "down"


OpenLanes = Callable[[], Awaitable[RouterLanes]]


class LaneGate:
    """Pushes jobs in company, watches that Redis answers, and says so when it doesn't.

    `on_count` is told how many jobs of others wait in a queue: fewer than none where a claim of ours was on its way
    when they were counted. `on_change` is called with the gate already in its new state. Going away bumps `epoch`: jobs
    left in Redis are of an older one, and no node runs those.
    """

    def __init__(
        self,
        open_lanes: OpenLanes | None,
        *,
        on_change: Callable[[], None],
        stall_s: float,
        clock: Clock,
        pressure: Callable[[], float] = lambda: 0.0,
        on_count: Callable[[Queue, int], None] = lambda queue, jobs: None,
    ) -> None:
        self._open_lanes = open_lanes
        self._on_change = on_change
        self._stall_s = stall_s
        self._clock = clock
        self._pressure = pressure
        self._on_count = on_count
        self._lanes: RouterLanes | None = None
        self._origin_s = 0.0
        self._buffers: dict[Queue, list[Flight]] = defaultdict(list)
        self._flush: asyncio.Handle | None = None
        self._flush_at_s = 0.0
        self._pending: dict[asyncio.Future[int], float] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._known: set[Queue] = set()
        """Queues of which it has told how many jobs of others wait there, and goes on telling."""
        self._unclaimed: dict[Queue, int] = defaultdict(int)
        self._tiers: tuple[Tier, ...] = (Tier.STANDARD,)
        """Those that jobs of ours have."""
        self._counting: set[Queue] = set()
        self._retry_s = RETRY_FIRST_S
        self.state = GateState.DOWN if open_lanes else GateState.NONE
        self.epoch = 1

    def __repr__(self) -> str:
        return f"<LaneGate {self.state}, epoch {self.epoch}>"

    @property
    def is_up(self) -> bool:
        return self.state is GateState.UP

    def submit(self, flight: Flight, *, linger_s: float) -> None:
        """Puts a job on its way to its lane: at once when none of ours waits there unclaimed. Otherwise no node is
        free for it yet, and it waits for company until those are claimed, or for `linger_s`. Under pressure
        it always waits, the longer the greater that is."""
        flight.due = self._origin_s + flight.due_at_s
        queue = flight.queue
        if queue.tier not in self._tiers:
            self._tiers = (*self._tiers, queue.tier)
        buffer = self._buffers[queue]
        buffer.append(flight)
        if len(buffer) >= PUSH_AT_ONCE:
            self._push_all()
        else:
            self._push_within(linger_s if self._unclaimed[queue] else linger_s * self._pressure())

    def withdraw(self, flight: Flight) -> None:
        """Takes a job out of its lane if it is still there; nobody waits for the result."""
        queue = flight.queue
        buffer = self._buffers[queue]
        if flight in buffer:
            buffer.remove(flight)
        elif self._lanes is not None:
            self._lanes.remove(*queue, [flight.member])
            self.left(queue)

    def left(self, queue: Queue) -> None:
        """A job of ours is no longer in the lane."""
        self._unclaimed[queue] = max(0, self._unclaimed[queue] - 1)
        if not self._unclaimed[queue] and self._buffers[queue] and not self._pressure():
            self._push_within(0.0)

    def recount(self, lane: str) -> None:
        """Asks Redis how many jobs wait in a lane. Every push says so too; without any, nobody else would."""
        for tier in self._tiers:
            self._recount(Queue(lane, tier))

    async def present(self, queue: Queue, flights: Sequence[Flight]) -> list[bool]:
        """Which of the jobs still wait, in the lane or for company. Raises LaneUnavailable."""
        if self._lanes is None:
            raise LaneUnavailable("not connected")
        lingering = set(self._buffers[queue])
        async with asyncio.timeout(self._stall_s * 4):
            there = await self._lanes.present(*queue, [flight.member for flight in flights])
        return [is_there or flight in lingering for flight, is_there in zip(flights, there, strict=True)]

    async def start(self) -> None:
        """Tries once, so that a Redis which refuses us is known before anything is promised. Raises ConfigError."""
        if self._open_lanes is not None:
            try:
                await self._enter()
            except LaneUnavailable as error:
                log.warning("starting without Redis, over the links alone: %s", error)

    async def run(self) -> None:
        """Comes and goes with Redis until cancelled."""
        while self._open_lanes is not None:
            if self._lanes is None:
                await asyncio.sleep(self._retry_s)
                self._retry_s = min(2 * self._retry_s, RETRY_MOST_S)
                try:
                    await self._enter()
                except LaneUnavailable as error:
                    log.debug("Redis is still away: %s", error)
                    continue
                except ConfigError as error:
                    log.error("%s", error)
                    self._retry_s = RETRY_MOST_S
                    continue
            await self._stay()

    def close(self) -> None:
        if self._lanes is not None:
            self._lanes.close()

    async def _enter(self) -> None:
        """Connects, and comes in if Redis answers as promptly as a lane must."""
        assert self._open_lanes is not None
        lanes = await self._open_lanes()
        try:
            for _ in range(2):
                async with asyncio.timeout(self._stall_s):
                    self._origin_s = await lanes.ping() - self._clock()
        except (LaneUnavailable, TimeoutError) as error:
            lanes.close()
            raise LaneUnavailable(f"connected, but too slow: {error!r}") from error
        self._lanes = lanes
        self.state = GateState.UP
        self._retry_s = RETRY_FIRST_S
        log.info("Redis is up; jobs go through the lanes")
        self._on_change()

    async def _stay(self) -> None:
        """While connected: follows Redis' clock, so that all routers' scores keep one origin."""
        while (lanes := self._lanes) is not None:
            done, _ = await asyncio.wait((lanes.lost,), timeout=HEARTBEAT_S)
            if done:
                self._leave(GateState.DOWN, "the connection is lost")
            elif self._lanes is lanes:
                try:
                    async with asyncio.timeout(max(self._stall_s, HEARTBEAT_S)):
                        self._origin_s = await lanes.ping() - self._clock()
                    for queue in list(self._known):
                        self._recount(queue)
                except (LaneUnavailable, TimeoutError):
                    if self._lanes is lanes:
                        self._leave(GateState.STALLED, "it doesn't answer")

    def _leave(self, state: GateState, why: str) -> None:
        if self._lanes is None:
            return
        log.warning("Redis is %s: %s; going on over the links alone", state, why)
        self._lanes.close()
        self._lanes = None
        self._pending.clear()
        for queue in self._known:
            self._on_count(queue, 0)
        self._known.clear()
        self._unclaimed.clear()
        self._counting.clear()
        self._buffers.clear()
        self.state = state
        self.epoch += 1
        self._on_change()

    def _push_within(self, wait_s: float) -> None:
        """Sees to it that what is buffered goes in that time; who can't wait hurries the others."""
        push_at_s = self._clock() + wait_s
        if self._flush is not None:
            if push_at_s >= self._flush_at_s:
                return
            self._flush.cancel()
        loop = asyncio.get_running_loop()
        self._flush = loop.call_later(wait_s, self._push_all) if wait_s else loop.call_soon(self._push_all)
        self._flush_at_s = push_at_s

    def _push_all(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        for queue, flights in self._buffers.items():
            if flights and self._lanes is not None:
                self._buffers[queue] = []
                self._push(self._lanes, queue, flights)
                break
        else:
            return
        self._push_all()

    def _recount(self, queue: Queue) -> None:
        if self._lanes is None or queue in self._counting:
            return
        lanes, counted = self._lanes, self._lanes.count(*queue)
        self._counting.add(queue)
        ours = self._unclaimed[queue]
        counted.add_done_callback(lambda answer: self._counted(lanes, queue, ours, answer))

    def _push(self, lanes: RouterLanes, queue: Queue, flights: Sequence[Flight]) -> None:
        pushed = lanes.push(*queue, [Entry(flight.due, flight.member) for flight in flights])
        self._unclaimed[queue] += len(flights)
        ours = self._unclaimed[queue]
        self._pending[pushed] = self._clock()
        pushed.add_done_callback(lambda answer: self._pushed(lanes, queue, ours, answer))
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(self._stall_s, self._look)

    def _pushed(self, lanes: RouterLanes, queue: Queue, ours: int, answer: asyncio.Future[int]) -> None:
        self._pending.pop(answer, None)
        if answer.cancelled() or lanes is not self._lanes:
            return
        error = answer.exception()
        if error is None:
            self._others_are(queue, answer.result() - ours)
        elif not lanes.lost.done():
            self._retry_s = REFUSED_S
            self._leave(GateState.DOWN, str(error))
        else:
            self._leave(GateState.DOWN, "the connection is lost")

    def _counted(self, lanes: RouterLanes, queue: Queue, ours: int, answer: asyncio.Future[int]) -> None:
        if lanes is self._lanes:
            self._counting.discard(queue)
            if not answer.cancelled() and answer.exception() is None:
                self._others_are(queue, answer.result() - ours)

    def _others_are(self, queue: Queue, jobs: int) -> None:
        self._known.add(queue)
        self._on_count(queue, jobs)

    def _look(self) -> None:
        """Whether the oldest push has been waiting for too long."""
        self._watch = None
        if not self._pending:
            return
        loop = asyncio.get_running_loop()
        oldest = next(iter(self._pending))
        age_s = self._clock() - self._pending[oldest]
        if age_s < self._stall_s:
            self._watch = loop.call_later(self._stall_s - age_s, self._look)
        else:
            # If it was this process that slept, the answer lies in the socket: read it before judging.
            self._watch = loop.call_later(0.002, self._judge, oldest)

    def _judge(self, oldest: asyncio.Future[int]) -> None:
        self._watch = None
        if not oldest.done() and oldest in self._pending:
            self._leave(GateState.STALLED, f"no answer for {self._stall_s * 1e3:.0f} ms")
        elif self._pending:
            self._look()
