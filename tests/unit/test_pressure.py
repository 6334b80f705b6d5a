"""Pressure: whether the router's thread is short of CPU."""

from __future__ import annotations

import asyncio
import time

import pytest

from isochrone.testing.virtual_time import virtual_time
from isochrone_router.pressure import FROM, FULL, TICK_S, Pressure, ThreadBusyTime


class BusyFor:
    """A thread that has had something to do for a fixed part of all time."""

    def __init__(self, part: float) -> None:
        self._part = part

    def seconds(self) -> float:
        return self._part * asyncio.get_running_loop().time()

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("part", "share"),
    [(0.0, 0.0), (FROM, 0.0), ((FROM + FULL) / 2, 0.5), (FULL, 1.0), (1.0, 1.0)],
)
@virtual_time
async def test_pressure_begins_where_a_thread_hardly_rests(part: float, share: float) -> None:
    """An idle router sends each job at once; one that is always busy gathers all it may."""
    pressure = Pressure(BusyFor(part), clock=asyncio.get_running_loop().time)
    running = asyncio.create_task(pressure.run())
    await asyncio.sleep(2.5 * TICK_S)
    running.cancel()
    assert pressure.share == pytest.approx(share, abs=1e-6)


@pytest.mark.parametrize("closed", [False, True])
def test_time_that_a_thread_worked_is_counted(closed: bool) -> None:
    """By the kernel's statistics, or by CPU time where there are none."""
    busy = ThreadBusyTime()
    if closed:
        busy.close()
    before_s = busy.seconds()
    until_s = time.thread_time() + 0.05
    while time.thread_time() < until_s:
        pass
    # The kernel counts at its own ticks, up to 10 ms behind.
    assert busy.seconds() >= before_s + 0.03
    busy.close()
