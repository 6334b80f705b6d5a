"""What became of the requests of one run, and what it took."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

from isochrone.blame import Expectation
from isochrone.simulator.job import End, Job
from isochrone.v1 import budget_pb2

if TYPE_CHECKING:
    from isochrone.simulator.scenario import Scenario

LEARNT_ONE_IN = 16
BUCKETS = 100
"""Of a run's time, for its course."""


class _Spent(NamedTuple):
    """Of a BudgetReport, what blame looks at."""

    stage_us: list[int]
    first_us: int = 0


class Tally:
    """Counts ends, latencies and compute, of requests that come after the warm-up and batches that end after it."""

    def __init__(self, scenario: Scenario) -> None:
        self.from_s = scenario.warmup_s
        self.until_s = scenario.duration_s
        self.routes = list(scenario.routes)
        self.ends: list[Counter[End]] = [Counter() for _ in self.routes]
        self.latencies_s: list[array[float]] = [array("d") for _ in self.routes]
        self.causes: Counter[str] = Counter()
        self.busy_s: dict[str, float] = dict.fromkeys(scenario.pools, 0.0)
        """Device seconds by pool."""
        self.expired_s = 0.0
        """Of those, spent on requests whose deadline had passed when their batch ended."""
        self.batches = 0
        self.batch_jobs = 0
        self.second_attempts = 0
        self.offered_course = [0] * BUCKETS
        self.in_time_course = [0] * BUCKETS
        self._expectations = [Expectation() for _ in self.routes]
        self._router_us = round(scenario.network.router_us)
        self._hop_us = round(scenario.network.hop_us)

    def __repr__(self) -> str:
        ends = sum(self.ends, Counter())
        return f"<Tally {', '.join(f'{count} {end}' for end, count in ends.items())}>"

    def end(self, job: Job, end: End, *, at_s: float, cause: str = "") -> None:
        """A request is over. `cause`: why it missed, where that is known already."""
        job.end = end
        if job.arrived_s < self.from_s:
            return
        route = job.route
        self.ends[route][end] += 1
        bucket = min(BUCKETS - 1, int(job.arrived_s / self.until_s * BUCKETS))
        self.offered_course[bucket] += 1
        if end is End.IN_TIME:
            self.in_time_course[bucket] += 1
            self.latencies_s[route].append(at_s - job.arrived_s)
            # What is usual is learnt from some of many, as a router does.
            if self.ends[route][end] % LEARNT_ONE_IN == 0:
                self._expectations[route].learn(cast("budget_pb2.BudgetReport", self._spent(job, at_s)))
            return
        if end is End.LATE:
            self.latencies_s[route].append(at_s - job.arrived_s)
            stage = self._expectations[route].blame(cast("budget_pb2.BudgetReport", self._spent(job, at_s)))
            cause = f"late: {budget_pb2.Stage.Name(stage).removeprefix('STAGE_').lower().replace('_', ' ')}"
        elif end is End.EXPIRED:
            cause = f"expired in {_place(job)}"
        self.causes[cause or str(end)] += 1

    def ran(self, pool: str, jobs: Sequence[Job], *, units: int, seconds: float, ended_s: float) -> None:
        """A batch has ended."""
        if not self.from_s <= ended_s <= self.until_s:
            return
        self.busy_s[pool] += seconds
        self.batches += 1
        self.batch_jobs += len(jobs)
        for job in jobs:
            if job.worthless_s < ended_s:
                self.expired_s += seconds * job.units / units

    def _spent(self, job: Job, at_s: float) -> _Spent:
        router_us, hop_us = self._router_us, self._hop_us
        computed_us = round((at_s - job.started_s) * 1e6) - router_us - hop_us
        return _Spent(
            [
                router_us,
                round((job.claimed_s - job.arrived_s) * 1e6) - router_us,
                round((job.started_s - job.claimed_s) * 1e6),
                computed_us,
                hop_us,
                router_us,
            ]
        )


def _place(job: Job) -> str:
    """Where it was when its time was up."""
    if job.node is None or not job.claimed_s:
        return "queue"
    return "compute" if job.started_s >= job.claimed_s and job.started_s else "batch wait"
