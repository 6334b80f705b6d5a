"""How others make batches: by size or timer, by a size that adapts, or not at all."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, Protocol

from isochrone.batching import Limits
from isochrone.simulator.contender import Batching, Contender
from isochrone.simulator.job import Job


class Take(NamedTuple):
    """What to do now: run so many from the front; with none, look again at a moment."""

    jobs: int
    again_s: float | None = None


class Batcher(Protocol):
    """Decides on batches of one variant on one node."""

    def take(self, waiting: deque[Job], now_s: float) -> Take:
        """For a device that is free; something waits."""

    def ran(self, seconds: float) -> None:
        """A batch took so long."""


def fitting(waiting: deque[Job], limits: Limits) -> int:
    """How many from the front fit into one forward call; one at least."""
    units = 0
    for count, job in enumerate(waiting):
        units += job.units
        if count >= limits.jobs or (count and units > limits.units):
            return count
    return len(waiting)


class SizeOrTimer:
    """So many at once, or what there is so long after the first came (Triton's dynamic batcher, Ray Serve's batch)."""

    def __init__(self, limits: Limits, *, jobs: int, timer_s: float) -> None:
        self._limits = Limits(limits.units, min(limits.jobs, jobs))
        self._timer_s = timer_s

    def __repr__(self) -> str:
        return f"<SizeOrTimer {self._limits.jobs} jobs or {self._timer_s * 1e3:g} ms>"

    def take(self, waiting: deque[Job], now_s: float) -> Take:
        count = fitting(waiting, self._limits)
        due_s = waiting[0].given_s + self._timer_s
        if count < len(waiting) or count >= self._limits.jobs or now_s >= due_s:
            return Take(count)
        return Take(0, due_s)

    def ran(self, seconds: float) -> None:
        pass


class Aimd:
    """Takes at once what waits, up to a size that grows by one while batches are within their objective, and shrinks by
    a tenth where one isn't (Clipper, NSDI 2017, section 4.3)."""

    BACK_OFF = 0.9

    def __init__(self, limits: Limits, *, objective_s: float) -> None:
        self._limits = limits
        self._objective_s = objective_s
        self.size = 1.0
        self._was_full = False

    def __repr__(self) -> str:
        return f"<Aimd {self.size:.1f} jobs>"

    def take(self, waiting: deque[Job], now_s: float) -> Take:
        most = max(1, min(int(self.size), self._limits.jobs))
        count = fitting(waiting, Limits(self._limits.units, most))
        self._was_full = count >= most
        return Take(count)

    def ran(self, seconds: float) -> None:
        if seconds > self._objective_s:
            self.size = max(1.0, self.size * self.BACK_OFF)
        elif self._was_full:
            self.size = min(self.size + 1, float(self._limits.jobs))


class OneByOne:
    """No batching."""

    def __repr__(self) -> str:
        return "<OneByOne>"

    def take(self, waiting: deque[Job], now_s: float) -> Take:
        return Take(1)

    def ran(self, seconds: float) -> None:
        pass


def batcher(contender: Contender, limits: Limits, *, objective_s: float) -> Batcher:
    """Of a contender's setting. `objective_s`: the tightest of the routes that it answers."""
    if contender.batching is Batching.SIZE_OR_TIMER:
        assert isinstance(contender.jobs, int)
        assert isinstance(contender.timer_ms, int | float)
        return SizeOrTimer(limits, jobs=contender.jobs, timer_s=contender.timer_ms / 1e3)
    if contender.batching is Batching.AIMD:
        return Aimd(limits, objective_s=objective_s)
    return OneByOne()
