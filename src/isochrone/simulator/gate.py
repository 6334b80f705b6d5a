"""A router's way into the lanes, as its LaneGate has it: jobs go at once, or linger for company."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from isochrone.simulator.engine import Engine
from isochrone.simulator.job import Job
from isochrone.simulator.lane import SharedLane
from isochrone_router.lane_gate import PUSH_AT_ONCE, lingering_s

TURN_S = 50e-6
"""A turn of the router's event loop: what comes within it is pushed together."""
Counted = Callable[[SharedLane, Job, int], None]
"""Told, with a job of the queue that was pushed to, how many jobs of others wait there."""


class Gate:
    """Pushes jobs into lanes. While jobs of this router wait there unclaimed, no node is free for the next."""

    def __init__(self, *, engine: Engine, hop_s: float, linger_s: float, counted: Counted | None) -> None:
        self._engine = engine
        self._hop_s = hop_s
        self._linger_s = linger_s
        self._counted = counted
        self._buffer: list[tuple[SharedLane, Job]] = []
        self._unclaimed: Counter[tuple[str, str]] = Counter()
        self._flush = 0
        """Names the flush that is planned; another number: it has been overtaken."""
        self._flush_at_s = float("inf")

    def __repr__(self) -> str:
        return f"<Gate {len(self._buffer)} jobs on their way, {sum(self._unclaimed.values())} unclaimed>"

    def submit(self, lane: SharedLane, job: Job) -> None:
        """Puts a job on its way."""
        job.in_lane = True
        self._buffer.append((lane, job))
        if len(self._buffer) >= PUSH_AT_ONCE:
            self._push()
        elif self._unclaimed[lane.name, job.tier]:
            objective_s = job.promised_s - job.arrived_s
            self._push_within(lingering_s(self._linger_s, objective_s=objective_s, spare_s=job.spare_s))
        else:
            self._push_within(TURN_S)

    def left(self, job: Job) -> None:
        """A job is no longer in its lane."""
        job.in_lane = False
        key = (job.lane, job.tier)
        if self._unclaimed[key]:
            self._unclaimed[key] -= 1
        if not self._unclaimed[key] and self._buffer:
            self._push()

    def _push_within(self, seconds: float) -> None:
        at_s = self._engine.now_s + seconds
        if at_s < self._flush_at_s:
            self._flush_at_s = at_s
            self._flush += 1
            self._engine.at(at_s, self._push_if, self._flush)

    def _push_if(self, flush: int) -> None:
        if flush == self._flush and self._buffer:
            self._push()

    def _push(self) -> None:
        self._flush += 1
        self._flush_at_s = float("inf")
        lanes: dict[SharedLane, list[Job]] = {}
        for lane, job in self._buffer:
            if job.in_lane:
                lanes.setdefault(lane, []).append(job)
                self._unclaimed[lane.name, job.tier] += 1
        self._buffer.clear()
        for lane, jobs in lanes.items():
            self._engine.after(self._hop_s, self._arrive, lane, jobs)

    def _arrive(self, lane: SharedLane, jobs: list[Job]) -> None:
        lane.push(jobs)
        if self._counted is not None:
            for tier in {job.tier: job for job in jobs}.values():
                self._counted(lane, tier, lane.depth(tier.tier) - self._unclaimed[lane.name, tier.tier])
