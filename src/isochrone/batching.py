"""Which of the waiting jobs to run now, which to give up, and why: a pure function of facts and `now`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from operator import attrgetter
from typing import Generic, Protocol, TypeVar

from isochrone.latency import Latency


class Waiting(Protocol):
    """What the policy knows of a job. Times are seconds on the node's clock."""

    @property
    def units(self) -> int: ...
    @property
    def objective_s(self) -> float: ...
    @property
    def deadline_s(self) -> float: ...


_J = TypeVar("_J", bound=Waiting)


class ClosedBy(StrEnum):
    """Why a batch ran as it was."""

    ALL = "all"  # everything that waited went along
    FULL = "full"  # the model takes no more at once
    DEADLINE = "deadline"  # one more would have made a member late
    OVERLOAD = "overload"  # tight members were left behind: they would have forced a tiny batch
    LATE = "late"  # only jobs past their objective were left: better late than never
    STREAM = "stream"  # no batch: it began at once, beside those that ran
    SPLIT = "split"  # a part of a batch whose forward call had failed


@dataclass(frozen=True, slots=True)
class Limits:
    """The most one forward call takes."""

    units: int
    jobs: int


@dataclass(frozen=True, slots=True)
class Closing(Generic[_J]):
    """What to do now: run these together, give those up, keep the rest."""

    run: list[_J] = field(default_factory=list)
    drop: list[_J] = field(default_factory=list)
    keep: list[_J] = field(default_factory=list)
    closed_by: ClosedBy = ClosedBy.ALL


_due = attrgetter("objective_s")
_end = attrgetter("deadline_s")

WORTH_RATE = 0.9
"""A batch under this fraction of the best rate at hand (units per second) lets its tightest members go."""


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Deadline-aware batching for a device that is free now.

    With room, the most urgent go first and a batch stops growing where one more job would make a member late.
    Under overload that rule alone collapses: it spends the device on tiny batches for jobs about to miss. So
    members at the head are passed over while they would hold the batch under `WORTH_RATE` of the best rate at
    hand; they run later, late, if there is time before their deadline. Nothing is held back on a free device.
    """

    limits: Limits

    def close(self, waiting: Sequence[_J], *, now_s: float, latency: Latency) -> Closing[_J]:
        """Decides over all jobs waiting on one lane's device. Every job is in exactly one of the lists."""
        drop: list[_J] = []
        on_time: list[_J] = []
        late: list[_J] = []
        for job in waiting:
            if now_s + latency.at_best(job.units) > job.deadline_s:
                drop.append(job)
            elif now_s + latency.of(job.units) > job.objective_s:
                late.append(job)
            else:
                on_time.append(job)
        late.sort(key=_end)
        if not on_time:
            if not late:
                return Closing([], drop, [], ClosedBy.ALL)
            first, others = late[:1], late[1:]
            joining = self._joining(first, others, by_s=first[0].deadline_s, now_s=now_s, latency=latency)
            return Closing(first + others[:joining], drop, others[joining:], ClosedBy.LATE)

        on_time.sort(key=_due)
        start, count = self._choose(on_time, now_s=now_s, latency=latency)
        run = on_time[start : start + count]
        left = on_time[:start] + on_time[start + count :]
        if late and not left:  # the late ride along where nobody pays for it
            by_s = min(run[0].objective_s, late[0].deadline_s)
            joining = self._joining(run, late, by_s=by_s, now_s=now_s, latency=latency)
            run, late = run + late[:joining], late[joining:]
        keep = left + late
        if start:
            return Closing(run, drop, keep, ClosedBy.OVERLOAD)
        if not keep:
            return Closing(run, drop, keep, ClosedBy.ALL)
        units = sum(job.units for job in run)
        full = len(run) >= self.limits.jobs or units + keep[0].units > self.limits.units
        return Closing(run, drop, keep, ClosedBy.FULL if full else ClosedBy.DEADLINE)

    def _choose(self, jobs: list[_J], *, now_s: float, latency: Latency) -> tuple[int, int]:
        """Start and length of the run of jobs (most urgent first) to take together."""
        best_rate = self._rate(jobs, latency)
        best = (0, 1)
        reached = -1.0
        for start in range(len(jobs)):
            count, units = self._reach(jobs, start, now_s=now_s, latency=latency)
            rate = units / max(latency.of(units), 1e-9)
            if rate > reached:
                best, reached = (start, count), rate
            if rate >= WORTH_RATE * best_rate:
                return start, count
        return best

    def _reach(self, jobs: list[_J], start: int, *, now_s: float, latency: Latency) -> tuple[int, int]:
        """How far a batch that begins at `start` can grow until a cap or its first member's objective."""
        room = min(self.limits.units, latency.units_within(jobs[start].objective_s - now_s))
        units = jobs[start].units
        count = 1
        for job in jobs[start + 1 : start + self.limits.jobs]:
            if units + job.units > room:
                break
            units += job.units
            count += 1
        return count, units

    def _rate(self, jobs: list[_J], latency: Latency) -> float:
        """Units per second of the largest batch these jobs could make, deadlines aside."""
        units = 0
        for job in jobs[: self.limits.jobs]:
            if units and units + job.units > self.limits.units:
                break
            units += job.units
        return units / max(latency.of(units), 1e-9)

    def _joining(self, run: list[_J], more: list[_J], *, by_s: float, now_s: float, latency: Latency) -> int:
        """How many of `more`, from the front, can join `run` within the caps and with the batch done by `by_s`."""
        units = sum(job.units for job in run)
        for count, job in enumerate(more):
            units += job.units
            crowded = len(run) + count >= self.limits.jobs or units > self.limits.units
            if crowded or now_s + latency.of(units) > by_s:
                return count
        return len(more)


def jobs_to_claim(*, room_units: int, mean_units: float, most: int) -> int:
    """How many jobs to take from a lane to fill the room on a node, going by how heavy they were lately."""
    return max(1, min(most, int(room_units / max(mean_units, 1.0))))
