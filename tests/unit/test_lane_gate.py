"""LaneGate: whether Redis is there, and jobs on their way to the lanes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from fakes import LANE, FakeLanes, flight
from isochrone.errors import ConfigError
from isochrone.keys import Queue, Tier
from isochrone.lane import LaneUnavailable
from isochrone.testing.virtual_time import virtual_time
from isochrone_router.lane_gate import PUSH_AT_ONCE, GateState, LaneGate

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
        ours = [self.gate._unclaimed.get(queue, 0) + self.others.get(queue, 0) for queue in self._queues(lane)]
        return sum(max(0, jobs) for jobs in ours) + sum(len(self.gate._buffers[queue]) for queue in self._queues(lane))

    def _queues(self, lane: str) -> list[Queue]:
        return [Queue(lane, tier) for tier in Tier]


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


def test_without_redis_there_is_nothing_to_come_or_go() -> None:
    """The gate stays shut, and its loop ends at once."""

    @virtual_time
    async def go() -> None:
        gate = LaneGate(None, on_change=pytest.fail, stall_s=1, clock=asyncio.get_running_loop().time)
        await gate.start()
        await gate.run()
        assert (gate.state, gate.is_up) == (GateState.NONE, False)

    go()


async def waiting_unclaimed(at: Gated) -> None:
    """Pushes a job that no node claims."""
    at.gate.submit(flight(), linger_s=0)
    await asyncio.sleep(0)
    assert len(at.redis.lanes.pushes) == 1


@virtual_time
async def test_it_comes_in_when_redis_answers() -> None:
    """After `start`, with its owner told."""
    async with gated() as at:
        assert (at.gate.is_up, at.told) == (True, [("up", 1)])
        assert repr(at.gate) == "<LaneGate up, epoch 1>"


@virtual_time
async def test_it_starts_without_redis_and_comes_in_later() -> None:
    """Over the links alone meanwhile."""
    async with gated(Redis(away=LaneUnavailable("nobody there"))) as at:
        assert (at.gate.state, at.told) == (GateState.DOWN, [])
        await asyncio.sleep(1)
        at.redis.away = None
        await asyncio.sleep(2)
        assert at.told == [("up", 1)]


@virtual_time
async def test_a_redis_that_refuses_us_is_told_at_the_start() -> None:
    """A wrong password is a mistake in the configuration, and nothing is promised with it."""
    with pytest.raises(ConfigError, match="WRONGPASS"):
        async with gated(Redis(away=ConfigError("WRONGPASS"))):
            pass


@virtual_time
async def test_a_redis_that_refuses_us_later_is_tried_again() -> None:
    """Passwords are changed while routers run; requests go over the links until it lets us in."""
    async with gated() as at:
        at.redis.away = ConfigError("WRONGPASS")
        at.redis.lanes.close()
        await asyncio.sleep(5)
        assert at.gate.state is GateState.DOWN
        at.redis.away = None
        await asyncio.sleep(5)
        assert at.told == [("up", 1), ("down", 2), ("up", 2)]


@virtual_time
async def test_a_redis_too_slow_for_a_lane_is_as_good_as_none() -> None:
    """It connects, but doesn't answer within the stall time."""
    async with gated(Redis(silent=True)) as at:
        await asyncio.sleep(10)
        assert at.told == []
        assert len(at.redis.opened) > 3
        assert all(lanes.lost.done() for lanes in at.redis.opened[:-1]), "each try's connection is closed"


@virtual_time
async def test_jobs_of_one_turn_are_pushed_together() -> None:
    """With their due moments on the lanes' own clock."""
    async with gated() as at:
        flights = [flight(objective_s=0.010 * n) for n in (1, 2, 3)]
        for one in flights:
            at.gate.submit(one, linger_s=0)
        assert at.depth() == 3
        await asyncio.sleep(0)
        [pushed] = at.redis.lanes.pushes
        assert [entry.member for entry in pushed] == [one.member for one in flights]
        for entry, one in zip(pushed, flights, strict=True):
            assert entry.due == pytest.approx(one.due_at_s + at.redis.lanes.ahead_s, abs=1e-6)


@virtual_time
async def test_a_lone_job_goes_at_once() -> None:
    """With none of ours waiting unclaimed, a node may be free: there is nothing to linger for."""
    async with gated() as at:
        at.gate.submit(flight(), linger_s=LINGER_S)
        await asyncio.sleep(0)
        assert [len(pushed) for pushed in at.redis.lanes.pushes] == [1]


@virtual_time
async def test_behind_unclaimed_jobs_the_next_linger_for_company() -> None:
    """For the linger time at most, and no longer than until enough have come."""
    async with gated() as at:
        await waiting_unclaimed(at)
        at.gate.submit(flight(), linger_s=LINGER_S)
        await asyncio.sleep(LINGER_S / 2)
        at.gate.submit(flight(), linger_s=LINGER_S)
        assert len(at.redis.lanes.pushes) == 1
        await asyncio.sleep(LINGER_S)
        assert [len(pushed) for pushed in at.redis.lanes.pushes] == [1, 2]
        for _ in range(PUSH_AT_ONCE):
            at.gate.submit(flight(), linger_s=LINGER_S)
        assert [len(pushed) for pushed in at.redis.lanes.pushes] == [1, 2, PUSH_AT_ONCE]


@virtual_time
async def test_company_leaves_when_the_last_unclaimed_job_has_gone() -> None:
    """A node that has claimed all there was may take more: what lingers goes at once."""
    async with gated() as at:
        await waiting_unclaimed(at)
        at.gate.submit(flight(), linger_s=LINGER_S)
        at.gate.submit(flight(), linger_s=LINGER_S)
        at.gate.left(Queue(LANE))
        await asyncio.sleep(0)
        assert [len(pushed) for pushed in at.redis.lanes.pushes] == [1, 2]


@virtual_time
async def test_under_pressure_even_a_lone_job_lingers() -> None:
    """The router is then the bottleneck, and the requests that would keep the job company wait in front of it."""
    async with gated(pressure=lambda: 0.5) as at:
        at.gate.submit(flight(), linger_s=LINGER_S)
        await asyncio.sleep(LINGER_S / 4)
        assert at.redis.lanes.pushes == []
        await asyncio.sleep(LINGER_S / 2)
        assert [len(pushed) for pushed in at.redis.lanes.pushes] == [1]


@virtual_time
async def test_who_cannot_wait_hurries_the_others() -> None:
    """A job of a tight route is not held by the company that waits already."""
    async with gated() as at:
        await waiting_unclaimed(at)
        at.gate.submit(flight(), linger_s=LINGER_S)
        at.gate.submit(flight(), linger_s=0)
        await asyncio.sleep(0)
        assert [len(pushed) for pushed in at.redis.lanes.pushes] == [1, 2]


@virtual_time
async def test_lanes_are_pushed_to_separately() -> None:
    """One turn's jobs of two lanes make two pushes, and each lane has its own depth."""
    async with gated() as at:
        at.gate.submit(flight(lane="a@cpu"), linger_s=0)
        at.gate.submit(flight(lane="b@cpu"), linger_s=0)
        assert (at.depth("a@cpu"), at.depth("b@cpu")) == (1, 1)
        await asyncio.sleep(0)
        assert [len(pushed) for pushed in at.redis.lanes.pushes] == [1, 1]


@virtual_time
async def test_a_job_withdrawn_in_time_never_leaves() -> None:
    """One that is in the lane already is taken out of it."""
    async with gated() as at:
        early, late = flight(), flight()
        at.gate.submit(early, linger_s=LINGER_S)
        at.gate.withdraw(early)
        await asyncio.sleep(2 * LINGER_S)
        assert at.redis.lanes.pushes == []
        at.gate.submit(late, linger_s=0)
        await asyncio.sleep(0)
        at.gate.withdraw(late)
        assert (at.redis.lanes.removed, at.redis.lanes.waiting) == ([late.member], {})


@virtual_time
async def test_a_job_that_waits_for_company_is_not_missing() -> None:
    """It isn't in Redis yet, and nobody has taken it."""
    async with gated(pressure=lambda: 1.0) as at:
        early, late = flight(), flight()
        at.gate.submit(early, linger_s=0)
        await asyncio.sleep(0.001)
        at.gate.submit(late, linger_s=LINGER_S)
        assert await at.gate.present(Queue(LANE), [early, late]) == [True, True]


@virtual_time
async def test_a_full_lane_is_counted_until_it_has_room_again() -> None:
    """While it is full nothing is pushed to it, so no push can bring the news that nodes have emptied it."""
    async with gated() as at:
        for _ in range(5):
            at.gate.submit(flight(), linger_s=0)
        await asyncio.sleep(0.001)
        at.redis.lanes.waiting.popitem()
        at.gate.recount(LANE)
        await asyncio.sleep(0)
        assert at.depth() == 4
        at.redis.lanes.waiting.clear()
        await asyncio.sleep(1.1)
        assert at.depth() == 0, "it is counted with each heartbeat too"


@virtual_time
async def test_one_count_at_a_time_is_under_way() -> None:
    """However many requests a full lane turns away meanwhile; and after a loss, counting starts afresh."""
    async with gated() as at:
        at.redis.lanes.prompt = False
        asked = [at.gate.recount(LANE) for _ in range(100)]
        assert len(at.redis.lanes.outstanding) == 1 < len(asked)
        at.redis.lanes.close()
        await asyncio.sleep(3)
        at.redis.lanes.waiting[b"job"] = 0.0
        at.gate.recount(LANE)
        await asyncio.sleep(0)
        assert at.depth() == 1


@virtual_time
async def test_a_job_that_left_is_not_counted_any_more() -> None:
    """Claimed or withdrawn; and a count never falls below nothing."""
    async with gated() as at:
        flights = [flight() for _ in range(3)]
        for one in flights:
            at.gate.submit(one, linger_s=0)
        await asyncio.sleep(0)
        at.gate.left(Queue(LANE))
        at.gate.withdraw(flights[1])
        assert at.depth() == 1
        for _ in range(3):
            at.gate.left(Queue(LANE))
        assert at.depth() == 0


@virtual_time
async def test_a_lost_connection_closes_the_gate_and_bumps_the_epoch() -> None:
    """Jobs left behind are of the old epoch, and no node runs those."""
    async with gated() as at:
        at.redis.away = LaneUnavailable("killed")
        at.redis.lanes.close()
        await asyncio.sleep(0.01)
        assert at.told == [("up", 1), ("down", 2)]
        at.redis.away = None
        await asyncio.sleep(5)
        assert at.told == [("up", 1), ("down", 2), ("up", 2)]


@virtual_time
async def test_a_push_without_an_answer_is_a_stall() -> None:
    """After the stall time the gate closes, and so does the connection."""
    async with gated() as at:
        at.redis.lanes.prompt, at.redis.silent = False, True
        at.gate.submit(flight(), linger_s=0)
        await asyncio.sleep(STALL_S * 0.9)
        assert at.gate.is_up
        await asyncio.sleep(STALL_S * 0.2)
        assert at.told == [("up", 1), ("stalled", 2)]
        assert at.redis.opened[0].lost.done()


@virtual_time
async def test_answers_that_keep_coming_are_no_stall() -> None:
    """Each push has its own time; a steady stream of them does not add up."""
    async with gated() as at:
        at.redis.lanes.prompt = False
        for _ in range(20):
            at.gate.submit(flight(), linger_s=0)
            await asyncio.sleep(STALL_S * 0.7)
            at.redis.lanes.answer_all()
        assert at.told == [("up", 1)]
        await asyncio.sleep(STALL_S * 3)
        assert at.told == [("up", 1)]


@virtual_time
async def test_a_process_that_slept_itself_reads_before_it_judges() -> None:
    """The answer lay in the socket all the while."""
    async with gated() as at:
        at.redis.lanes.prompt = False
        at.gate.submit(flight(), linger_s=0)
        await asyncio.sleep(0)
        loop = asyncio.get_running_loop()
        loop.call_later(STALL_S, loop.call_later, 0.001, at.redis.lanes.answer_all)
        await asyncio.sleep(STALL_S * 2)
        assert at.told == [("up", 1)]


@virtual_time
async def test_silence_is_noticed_without_any_job() -> None:
    """The heartbeat asks for the lanes' clock; a Redis that is stopped doesn't tell it."""
    async with gated() as at:
        at.redis.lanes.prompt, at.redis.silent = False, True
        await asyncio.sleep(3)
        assert at.told == [("up", 1), ("stalled", 2)]


@virtual_time
async def test_the_origin_follows_the_lanes_clock() -> None:
    """So that the scores of all routers stay comparable however Redis' clock is set."""
    async with gated() as at:
        at.redis.lanes.ahead_s = 9999.0
        await asyncio.sleep(2)
        one = flight()
        at.gate.submit(one, linger_s=0)
        assert one.due == pytest.approx(one.due_at_s + 9999.0, abs=1e-6)


@virtual_time
async def test_a_full_redis_closes_the_gate_for_a_while() -> None:
    """Out of memory, it refuses a push: the jobs go over the links, and it is tried again later."""
    async with gated() as at:
        at.redis.lanes.refusal = "OOM command not allowed"
        at.gate.submit(flight(), linger_s=0)
        await asyncio.sleep(0.01)
        assert at.told == [("up", 1), ("down", 2)]
        await asyncio.sleep(1.5)
        assert not at.gate.is_up
        await asyncio.sleep(3)
        assert at.gate.is_up


@pytest.mark.parametrize("how", ["lost", "stalled"])
def test_jobs_that_had_not_left_yet_are_not_pushed_after_it_is_back(how: str) -> None:
    """Their owner has been told, and sends them another way; nothing of before is replayed."""

    @virtual_time
    async def go() -> None:
        async with gated() as at:
            at.redis.silent = how == "stalled"
            if how == "stalled":
                at.redis.lanes.prompt = False
                at.gate.submit(flight(), linger_s=0)
                await asyncio.sleep(STALL_S)
            at.gate.submit(flight(), linger_s=LINGER_S)
            assert at.depth() >= 1
            if how == "lost":
                at.redis.lanes.close()
            await asyncio.sleep(STALL_S)
            assert at.depth() == 0
            at.redis.silent = False
            await asyncio.sleep(5)
            assert at.gate.is_up
            assert at.redis.lanes.pushes == []
            fresh = flight()
            at.gate.submit(fresh, linger_s=LINGER_S)
            await asyncio.sleep(0)
            [pushed] = at.redis.lanes.pushes
            assert [entry.member for entry in pushed] == [fresh.member], "at once: nothing of ours waits there now"

    go()


@virtual_time
async def test_questions_that_are_never_answered_are_forgotten() -> None:
    """Redis was stopped, and its connection is given up; on the next one nobody is judged by them."""
    async with gated() as at:
        at.redis.lanes.prompt = False
        at.gate.submit(flight(), linger_s=0)
        at.gate.recount(LANE)
        await asyncio.sleep(0)
        at.redis.lanes.outstanding.clear()
        await asyncio.sleep(5)
        assert at.told == [("up", 1), ("stalled", 2), ("up", 2)]
        at.gate.submit(flight(), linger_s=0)
        await asyncio.sleep(5 * STALL_S)
        assert at.gate.is_up
        at.redis.lanes.waiting[b"another router's"] = 0.0
        at.gate.recount(LANE)
        await asyncio.sleep(0)
        assert at.depth() == 2
        assert not at.gate._pending


@virtual_time
async def test_a_reply_of_a_former_connection_changes_nothing() -> None:
    """It may come after a new one is open."""
    async with gated() as at:
        former = at.redis.lanes
        former.prompt = False
        at.gate.submit(flight(), linger_s=0)
        await asyncio.sleep(0)
        former.lost.set_result(None)
        await asyncio.sleep(3)
        assert at.told == [("up", 1), ("down", 2), ("up", 2)]
        former.answer_all()
        await asyncio.sleep(0)
        assert (at.gate.is_up, at.depth()) == (True, 0)


@virtual_time
async def test_presence_is_asked_only_where_there_is_somebody_to_ask() -> None:
    """And an answer that takes too long is a timeout, not a wait for ever."""
    async with gated() as at:
        one, other = flight(), flight()
        at.gate.submit(one, linger_s=0)
        await asyncio.sleep(0)
        assert await at.gate.present(Queue(LANE), [one, other]) == [True, False]
        at.redis.lanes.prompt = False
        with pytest.raises(TimeoutError):
            await at.gate.present(Queue(LANE), [one])
        at.redis.away = LaneUnavailable("killed")
        at.redis.lanes.close()
        await asyncio.sleep(0.01)
        with pytest.raises(LaneUnavailable):
            await at.gate.present(Queue(LANE), [one])


async def test_each_tier_is_a_queue_of_its_own() -> None:
    """They are pushed apart, and a lane is as deep as all of them."""
    async with gated() as at:
        high, usual = flight(), flight()
        high.tier = Tier.GOLD
        at.gate.submit(high, linger_s=0)
        at.gate.submit(usual, linger_s=0)
        await asyncio.sleep(0)
        assert at.depth() == 2
        at.gate.left(high.queue)
        assert at.depth() == 1
