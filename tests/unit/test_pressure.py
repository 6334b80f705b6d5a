"""Pressure: whether the router's thread is short of CPU, by the kernel's own count."""

from __future__ import annotations

import asyncio
import time

from isochrone_router.pressure import TICK_S, Pressure


async def measured(work_s: float, rest_s: float) -> float:
    """The share after a while of so much work and so much rest, over and over."""
    pressure = Pressure(clock=time.monotonic)
    running = asyncio.create_task(pressure.run())
    end_s = time.monotonic() + 4 * TICK_S
    while time.monotonic() < end_s:
        busy_until_s = time.monotonic() + work_s
        while time.monotonic() < busy_until_s:
            pass
        await asyncio.sleep(rest_s)
    running.cancel()
    pressure.close()
    return pressure.share


async def test_a_thread_that_never_rests_is_under_full_pressure() -> None:
    """Whether it has a core to itself or waits for one makes no difference: both count."""
    assert await measured(work_s=0.005, rest_s=0) == 1.0


async def test_a_thread_that_mostly_rests_is_under_none() -> None:
    """An idle router sends each job at once."""
    assert await measured(work_s=0.0, rest_s=0.02) == 0.0


async def test_without_the_kernels_statistics_cpu_time_stands_in() -> None:
    """Elsewhere than on Linux the time spent waiting for a core isn't known."""
    pressure = Pressure(clock=time.monotonic)
    pressure.close()
    before_s = pressure._busy_s()
    while time.thread_time() < before_s + 0.01:
        pass
    assert pressure._busy_s() >= before_s + 0.01
