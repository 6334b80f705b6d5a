"""How short of CPU this process is: whether saving some is worth a moment of waiting."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Protocol

from isochrone.deadline import Clock

TICK_S = 0.05
FROM, FULL = 0.7, 0.95
"""Below the first share of time spent running or waiting to run there is no pressure; at the second, all of it."""


class BusyTime(Protocol):
    """How long a thread has had something to do, since it began."""

    def seconds(self) -> float: ...
    def close(self) -> None: ...


class ThreadBusyTime:
    """This thread's: the time it ran, and the time others kept it from running, by the kernel's scheduler
    statistics. Without those (not Linux) CPU time alone stands in."""

    def __init__(self) -> None:
        try:
            self._stats: int | None = os.open(f"/proc/self/task/{threading.get_native_id()}/schedstat", os.O_RDONLY)
        except OSError:
            self._stats = None

    def seconds(self) -> float:
        if self._stats is None:
            return time.thread_time()
        ran_ns, waited_ns, _ = os.pread(self._stats, 128, 0).split()
        return (int(ran_ns) + int(waited_ns)) / 1e9

    def close(self) -> None:
        if self._stats is not None:
            os.close(self._stats)
            self._stats = None


class Pressure:
    """The share of time in which the router's thread had something to do, whether or not it got a core for it.

    Under pressure requests wait in front of the router, where it can't see them: nothing else tells it that it is
    the bottleneck.
    """

    def __init__(self, busy: BusyTime, *, clock: Clock) -> None:
        self._busy = busy
        self._clock = clock
        self.share = 0.0
        """0 for none, to 1."""

    def __repr__(self) -> str:
        return f"<Pressure {self.share:.0%}>"

    async def run(self) -> None:
        """Measures until cancelled."""
        busy_s, at_s = self._busy.seconds(), self._clock()
        while True:
            await asyncio.sleep(TICK_S)
            before, busy_s = busy_s, self._busy.seconds()
            began_s, at_s = at_s, self._clock()
            busy = (busy_s - before) / max(at_s - began_s, 1e-6)
            self.share = min(1.0, max(0.0, (busy - FROM) / (FULL - FROM)))

    def close(self) -> None:
        self._busy.close()
