"""Which of the waiting jobs to run now, which to give up, and why: a pure function of facts and `now`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from operator import attrgetter, itemgetter
from typing import Generic, NamedTuple, Protocol, TypeVar

from isochrone.keys import TIERS, Tier
from isochrone.latency import Latency


class Waiting(Protocol):
    """What the policy knows of a job. Times are seconds on the node's clock."""

    @property
    def units(self) -> int: ...
    @property
    def objective_s(self) -> float: ...
    @property
    def deadline_s(self) -> float: ...
    @property
    def tier(self) -> Tier: ...


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


@dataclass(slots=True)
class Closing(Generic[_J]):
    """What to do now: run these together, give those up, keep the rest."""

    run: list[_J] = field(default_factory=list)
    drop: list[_J] = field(default_factory=list)
    keep: list[_J] = field(default_factory=list)
    closed_by: ClosedBy = ClosedBy.ALL
    some_late: bool = False
    """Not all that might be in time will be, even in full batches; or none can."""


_end = attrgetter("deadline_s")

WORTH_RATE = 0.9
"""A batch under this fraction of the best rate at hand (units per second) lets its tightest members go."""


QUICK = 0.55
"""A batch takes this part of what the tightest jobs have, while smaller batches keep up with what comes."""
CLEAR_S = 0.02
"""What waits in the lane is to be done within that time, beside what comes."""
NOTHING_OWED: Mapping[Tier, float] = {}


class Demand(NamedTuple):
    """What is asked of the device beside the jobs that are here. Without any knowledge: as much as there can be."""

    arriving: float = inf
    """Units a second, lately."""
    behind: float = 0.0
    """Units that wait in the lane for this node."""
    tight_s: float = 0.0
    """From claim to objective of the tightest jobs lately."""


UNKNOWN = Demand()


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """Deadline-aware batching for a device that is free now (docs/decisions/011-batches-and-shares.md).

    While all of it can be in time, the most urgent go first. A batch then stops growing where one more job would make
    a member late, and where it would keep the device from the tight ones that may come in the meantime: it is no
    larger than needed to keep up. Under overload that rule alone collapses: it spends the device on tiny batches for
    jobs about to miss. Then lower tiers yield first, except for what they are owed of the device; and where a tier
    alone is too much, members at the head are passed over while they would hold the batch under `WORTH_RATE` of the
    best rate at hand. They run later, late, if there is time before their deadline. A free device never waits
    for company.
    """

    limits: Limits

    def enough_units(self, latency: Latency, demand: Demand) -> int:
        """The largest batch to make while there is room."""
        most = self.limits.units
        rate = demand.arriving + demand.behind / CLEAR_S
        if rate == inf or rate * latency.per_unit_s >= 1:
            return most
        keeping_up = rate * latency.base_s / (1 - rate * latency.per_unit_s)
        if keeping_up >= most:
            return most
        return min(most, max(1, int(keeping_up) + 1, latency.units_within(QUICK * demand.tight_s)))

    def close(
        self,
        waiting: Sequence[_J],
        *,
        now_s: float,
        latency: Latency,
        demand: Demand = UNKNOWN,
        owed: Mapping[Tier, float] = NOTHING_OWED,
    ) -> Closing[_J]:
        """Decides over all jobs waiting on one lane's device. Every job is in exactly one of the lists.

        `owed`: seconds that tiers are short of their shares of the device. For these, better late than never.
        """
        drop: list[_J] = []
        on_time: list[_Due[_J]] = []
        late: list[_J] = []
        base_s, per_unit_s, luck = latency.base_s, latency.per_unit_s, latency.luck
        short = tuple(owed)  # looking a tier up in a dict costs more than all the rest: enums hash themselves slowly
        for job in waiting:
            takes_s = base_s + per_unit_s * job.units
            if now_s + takes_s * luck > (deadline_s := job.deadline_s):
                drop.append(job)
            elif now_s + takes_s <= (objective_s := job.objective_s):
                on_time.append(_Due(objective_s, job))
            elif now_s + takes_s <= deadline_s and job.tier in short:
                on_time.append(_Due(deadline_s, job))
            else:
                late.append(job)
        late.sort(key=_end)
        if not on_time:
            if not late:
                return Closing([], drop, [], ClosedBy.ALL)
            first, others = late[:1], late[1:]
            joining = self._joining(first, others, by_s=first[0].deadline_s, now_s=now_s, latency=latency)
            return Closing(first + others[:joining], drop, others[joining:], ClosedBy.LATE, some_late=True)

        on_time.sort(key=_due)
        enough = self.enough_units(latency, demand)
        facts = _Facts(now_s, latency)
        some_late = False
        if self._all_in_time(on_time, enough, facts):
            count = self._reach(on_time, enough, facts)
            run, left, why = _jobs(on_time[:count]), _jobs(on_time[count:]), ClosedBy.DEADLINE
        elif self._all_in_time(on_time, self.limits.units, facts):
            count = self._reach(on_time, self.limits.units, facts)
            run, left, why = _jobs(on_time[:count]), _jobs(on_time[count:]), ClosedBy.DEADLINE
        else:
            some_late = True
            run, left, why = self._under_overload(on_time, owed, facts)
        if late and not left:  # the late ride along where nobody pays for it
            by_s = min(*(job.objective_s for job in run if job.objective_s >= now_s), late[0].deadline_s, inf)
            joining = self._joining(run, late, by_s=by_s, now_s=now_s, latency=latency)
            run, late = run + late[:joining], late[joining:]
        keep = left + late
        if why is ClosedBy.DEADLINE and not keep:
            why = ClosedBy.ALL
        elif why is ClosedBy.DEADLINE:
            units = sum(job.units for job in run)
            if len(run) >= self.limits.jobs or units + keep[0].units > self.limits.units:
                why = ClosedBy.FULL
        return Closing(run, drop, keep, why, some_late)

    def _all_in_time(self, jobs: Sequence[_Due[_J]], most: int, facts: _Facts) -> bool:
        """Whether all would be, were the most urgent to run now and the others behind them in batches of `most`."""
        count = self._reach(jobs, most, facts)
        base_s, per_unit_s, most_jobs = facts.latency.base_s, facts.latency.per_unit_s, self.limits.jobs
        starts_s = facts.now_s + facts.latency.of(sum(job.units for _, job in jobs[:count]))
        units = 0
        for place, (due_s, job) in enumerate(jobs[count:]):
            units += job.units
            batches = 1 + max(units // (most + 1), place // most_jobs)
            if starts_s + per_unit_s * units + batches * base_s > due_s:
                return False
        return True

    def _under_overload(
        self, jobs: list[_Due[_J]], owed: Mapping[Tier, float], facts: _Facts
    ) -> tuple[list[_J], list[_J], ClosedBy]:
        """What runs and what is left, and why."""
        led_by: tuple[Tier, ...] = ()
        start = -1
        first = jobs[0].job.tier
        mixed = any(job.tier is not first for _, job in jobs)
        for led_by in _HIGHEST if mixed else ():
            leading = [due for due in jobs if due.job.tier in led_by]
            if leading and len(leading) < len(jobs) and self._all_in_time(leading, self.limits.units, facts):
                start = jobs.index(leading[0])
                break
        if start < 0:
            led_by = ()
            start = self._worthwhile(jobs, facts)
        able = jobs[start:]
        if mixed:
            able = _by_rank(able, led_by, {tier: seconds / facts.a_unit_s for tier, seconds in owed.items()})
        room = min(self.limits.units, facts.latency.units_within(jobs[start].due_s - facts.now_s))
        base_s, per_unit_s, most_jobs = facts.latency.base_s, facts.latency.per_unit_s, self.limits.jobs
        run: list[_J] = []
        left = _jobs(jobs[:start])
        units = 0
        for due_s, job in able:
            more = units + job.units
            fits = not run or (more <= room and len(run) < most_jobs)
            if fits and facts.now_s + base_s + per_unit_s * more <= due_s:
                run.append(job)
                units = more
            else:
                left.append(job)
        most_urgent_s = min(job.objective_s for job in run)
        passed_over = any(job.objective_s < most_urgent_s for job in left)
        return run, left, ClosedBy.OVERLOAD if passed_over else ClosedBy.DEADLINE

    def _worthwhile(self, jobs: list[_Due[_J]], facts: _Facts) -> int:
        """The most urgent job whose batch is worth it, going through them once."""
        latency = facts.latency
        at_hand = 0
        for due in jobs[: self.limits.jobs]:
            if at_hand and at_hand + due.job.units > self.limits.units:
                break
            at_hand += due.job.units
        worth = WORTH_RATE * _rate(at_hand, latency)
        best, reached = 0, -1.0
        weights = [job.units for _, job in jobs]
        end = units = 0
        for start, (due_s, _) in enumerate(jobs):
            if end <= start:
                end, units = start + 1, weights[start]
            room = min(self.limits.units, latency.units_within(due_s - facts.now_s))
            last = min(len(jobs), start + self.limits.jobs)
            while end < last and units + weights[end] <= room:
                units += weights[end]
                end += 1
            rate = _rate(units, latency)
            if rate > reached:
                best, reached = start, rate
                if rate >= worth:
                    break
            units -= weights[start]
        return best

    def _reach(self, jobs: Sequence[_Due[_J]], most: int, facts: _Facts) -> int:
        """How far a batch of the most urgent can grow, until it is large enough or at its first member's time."""
        room = min(most, facts.latency.units_within(jobs[0].due_s - facts.now_s))
        units = jobs[0].job.units
        count = 1
        for _, job in jobs[1 : self.limits.jobs]:
            units += job.units
            if units > room:
                break
            count += 1
        return count

    def _joining(self, run: list[_J], more: list[_J], *, by_s: float, now_s: float, latency: Latency) -> int:
        """How many of `more`, from the front, can join `run` within the caps and with the batch done by `by_s`."""
        units = sum(job.units for job in run)
        for count, job in enumerate(more):
            units += job.units
            crowded = len(run) + count >= self.limits.jobs or units > self.limits.units
            if crowded or now_s + latency.of(units) > by_s:
                return count
        return len(more)


class _Due(NamedTuple, Generic[_J]):
    """A job, and by when it is to be done."""

    due_s: float
    job: _J


_due = itemgetter(0)


class _Facts(NamedTuple):
    now_s: float
    latency: Latency

    @property
    def a_unit_s(self) -> float:
        """What one unit takes at least."""
        return max(self.latency.per_unit_s, 1e-9)


_HIGHEST = ((Tier.GOLD, Tier.STANDARD), (Tier.GOLD,))
"""Which tiers go first under overload: as many as alone can be in time."""


def _jobs(some: Sequence[_Due[_J]]) -> list[_J]:
    return [due.job for due in some]


def _rate(units: int, latency: Latency) -> float:
    """Units per second of a batch of that many."""
    return units / max(latency.of(units), 1e-9)


def _by_rank(jobs: Sequence[_Due[_J]], led_by: Collection[Tier], owed: dict[Tier, float]) -> list[_Due[_J]]:
    """What is owed first, then what must be in time and will be, then higher tiers; the most urgent of each first."""
    first: list[_Due[_J]] = []
    leading: list[_Due[_J]] = []
    ranked: list[list[_Due[_J]]] = [[] for _ in TIERS]
    units_owed = [owed.get(tier, 0.0) for tier in TIERS]
    for due in jobs:
        tier = due.job.tier
        rank = TIERS.index(tier)
        if units_owed[rank] > 0:
            units_owed[rank] -= due.job.units
            first.append(due)
        elif tier in led_by:
            leading.append(due)
        else:
            ranked[rank].append(due)
    return first + leading + [due for rank in ranked for due in rank]


def jobs_to_claim(*, room_units: int, mean_units: float, most: int) -> int:
    """How many jobs to take from a lane to fill the room on a node, going by how heavy they were lately."""
    return max(1, min(most, int(room_units / max(mean_units, 1.0))))
