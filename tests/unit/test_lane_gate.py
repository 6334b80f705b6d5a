"""LaneGate: whether Redis is there, when it is given up, and when it is tried again."""

from __future__ import annotations

import asyncio

import pytest

from fakes import LANE, flight
from gated import LINGER_S, STALL_S, Redis, gated
from isochrone.errors import ConfigError
from isochrone.keys import Queue
from isochrone.lane import LaneUnavailable
from isochrone.testing.virtual_time import virtual_time
from isochrone_router.lane_gate import GateState, LaneGate


def test_without_redis_there_is_nothing_to_come_or_go() -> None:
    """The gate stays shut, and its loop ends at once."""

    @virtual_time
    async def go() -> None:
        gate = LaneGate(None, on_change=pytest.fail, stall_s=1, clock=asyncio.get_running_loop().time)
        await gate.start()
        await gate.run()
        assert (gate.state, gate.is_up) == (GateState.NONE, False)

    go()


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
