"""Virtual time: an event loop whose clock jumps to the next timer when there is nothing else to do."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from isochrone.testing.virtual_time import HORIZON_S, START_S, NothingLeft, virtual_clock, virtual_time


def test_waiting_costs_no_time() -> None:
    """Ten minutes are over in a moment, and the clock shows them to the nanosecond."""

    @virtual_time
    async def ten_minutes() -> float:
        await asyncio.sleep(600)
        return virtual_clock()()

    began_s = time.monotonic()
    assert ten_minutes() == pytest.approx(START_S + 600, abs=1e-8)
    assert time.monotonic() - began_s < 5


@virtual_time
async def test_timers_go_off_in_their_order() -> None:
    """Each at its moment; what is due together keeps the order it was asked for."""
    clock, seen = virtual_clock(), []
    began_s = clock()
    for name, delay_s in (("c", 0.3), ("a", 0.1), ("b", 0.1)):
        asyncio.get_running_loop().call_later(delay_s, lambda name=name: seen.append((name, clock() - began_s)))
    await asyncio.sleep(1)
    assert [name for name, _ in seen] == ["a", "b", "c"]
    assert [at_s for _, at_s in seen] == pytest.approx([0.1, 0.1, 0.3])


@virtual_time
async def test_timeouts_work_as_ever() -> None:
    """Everything of asyncio that waits does so on this clock."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(5):
            await asyncio.Event().wait()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 5)
    assert virtual_clock()() == pytest.approx(START_S + 10)


@virtual_time
async def test_work_in_an_executor_takes_as_long_as_it_says() -> None:
    """Only its caller waits; two of them are done side by side, and the loop goes on meanwhile."""
    clock, loop, ticks = virtual_clock(), asyncio.get_running_loop(), []

    def work(name: str, takes_s: float) -> str:
        clock.advance(takes_s)
        return f"{name} at {clock() - START_S:.3f}"

    loop.call_later(0.004, lambda: ticks.append(clock() - START_S))
    done = await asyncio.gather(loop.run_in_executor(None, work, "one", 0.010), asyncio.to_thread(work, "other", 0.008))
    assert done == ["one at 0.010", "other at 0.008"]
    assert ticks == pytest.approx([0.004])
    assert clock() - START_S == pytest.approx(0.010)


@virtual_time
async def test_work_that_raises_does_so_when_its_time_is_up() -> None:
    """And in its caller."""
    clock = virtual_clock()

    def work() -> None:
        clock.advance(0.5)
        raise LookupError("nothing there")

    with pytest.raises(LookupError):
        await asyncio.to_thread(work)
    assert clock() == pytest.approx(START_S + 0.5)


@virtual_time
async def test_time_that_passes_on_the_loop_holds_everything_up() -> None:
    """As in a process that is busy or stopped: what was due meanwhile is late."""
    clock, seen = virtual_clock(), []
    asyncio.get_running_loop().call_later(1, lambda: seen.append(clock() - START_S))
    await asyncio.sleep(0)
    clock.advance(3)
    assert seen == []
    await asyncio.sleep(0.001)
    assert seen == pytest.approx([3])
    with pytest.raises(ValueError, match="backwards"):
        clock.advance(-1)


def test_waiting_for_nothing_is_found_out() -> None:
    """A test that would hang fails at once instead."""

    @virtual_time
    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(NothingLeft, match="never come"):
        hang()


def test_waiting_in_vain_ends_at_the_horizon() -> None:
    """Something still ticks, so time passes; but not for ever."""

    @virtual_time
    async def hang() -> None:
        async def tick() -> None:
            while True:
                await asyncio.sleep(60)

        ticking = asyncio.create_task(tick())
        await asyncio.Event().wait()
        ticking.cancel()

    with pytest.raises(NothingLeft, match=f"{HORIZON_S:.0f} s"):
        hang()


@virtual_time
async def test_a_wait_too_short_for_the_clock_still_ends() -> None:
    """What rounding leaves over of a timeout does not stop the clock."""
    clock = virtual_clock()
    until_s = clock() + 1e-6
    for _ in range(10_000):
        if clock() >= until_s:
            break
        await asyncio.sleep(1e-18)
    assert clock() >= until_s


def test_dice_fall_the_same_way_each_time() -> None:
    """And those of other tests are left alone."""

    @virtual_time
    async def roll() -> list[float]:
        return [random.random() for _ in range(3)]

    random.seed(99)
    before = random.getstate()
    assert roll() == roll()
    assert random.getstate() == before


@virtual_time
async def test_fixtures_reach_the_test(tmp_path: object) -> None:
    """The decorated function asks for the same."""
    assert tmp_path is not None


@virtual_time
async def test_the_clock_is_shown_as_time_since_the_start() -> None:
    """Which is what one wants to see in a failing test."""
    await asyncio.sleep(1.5)
    assert repr(virtual_clock()) == "<VirtualClock 1.500000 s after the start>"


async def test_elsewhere_there_is_no_virtual_clock() -> None:
    """Asking for it on an ordinary loop says what to do."""
    with pytest.raises(RuntimeError, match="@virtual_time"):
        virtual_clock()
