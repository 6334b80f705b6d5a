"""LaneGate's pushes: which jobs leave together, which linger, and which count as unclaimed."""

from __future__ import annotations

import asyncio

import pytest

from fakes import LANE, flight
from gated import LINGER_S, gated, waiting_unclaimed
from isochrone.keys import Queue, Tier
from isochrone.testing.virtual_time import virtual_time
from isochrone_router.lane_gate import PUSH_AT_ONCE


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
