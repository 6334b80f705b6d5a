"""A node of this mesh on the virtual clock: it claims late, one batch ahead, and closes batches by the real policy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from isochrone.arrivals import Arrivals
from isochrone.batching import BatchPolicy, ClosedBy, Closing
from isochrone.keys import TIERS, Tier
from isochrone.lane import Want
from isochrone.node.device import INLINE_S
from isochrone.node.lead import Lead
from isochrone.node.loop import urgency
from isochrone.node.served import BatchServed
from isochrone.node.staging import Staging
from isochrone.shares import Shares
from isochrone.simulator.device import Device
from isochrone.simulator.engine import Engine
from isochrone.simulator.job import NEVER_S, Job, Owner
from isochrone.simulator.lane import SharedLane
from isochrone.simulator.scenario import ServiceConfig
from isochrone.simulator.seen import SeenLane, SeenLatency, SeenState, SeenVariant
from isochrone.simulator.tally import Tally

if TYPE_CHECKING:
    from isochrone.model import Model
    from isochrone.node.staging import JobKey, StagedJob


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """What of a model decides how it is batched (isochrone.model.Model)."""

    variant: str
    batch_units: int
    batch_jobs: int
    max_units: int
    unit: str = "units"
    routes: Sequence[str] = ()


class MeshNode:
    """Keeps one device busy with the most urgent work there is (isochrone.node.loop, .claimer)."""

    def __init__(
        self,
        name: str,
        pool: str,
        services: Mapping[str, ServiceConfig],
        *,
        lanes: Mapping[str, SharedLane],
        device: Device,
        engine: Engine,
        hop_s: float,
        least: Mapping[Tier, float],
        tally: Tally,
    ) -> None:
        """`least`: each tier's share of the device."""
        self.name = name
        self.pool = pool
        self.device = device
        self.is_up = True
        self.busy_until_s = 0.0
        """When the running batch is expected to end."""
        self._services = services
        self._lanes = lanes
        self._engine = engine
        self._hop_s = hop_s
        self._tally = tally
        self._life = 0
        """Counts its deaths: what an earlier life had planned doesn't happen."""
        self._ticket = 0
        self._waits = self._claiming = False
        self._running: list[Job] = []
        self._least = least
        self._warm_up()

    def __repr__(self) -> str:
        return f"<MeshNode {self.name}, {'up' if self.is_up else 'down'}, {len(self._running)} jobs running>"

    def start(self) -> None:
        """Takes jobs from now on."""
        self._wait_for_work()

    def fail(self) -> list[Job]:
        """Its process dies. Gives the jobs that go with it."""
        lost = [*self._running, *(job for served in self.served.values() for job in _jobs(served))]
        self.is_up = False
        self._life += 1
        self._ticket += 1
        self._waits = self._claiming = False
        self._running = []
        for queue in self._lanes.values():
            queue.claimers -= 1
        return lost

    def come_back(self) -> None:
        """A new process, loaded and warm."""
        self.device.pace = 1.0
        self._warm_up()
        self.is_up = True
        for queue in self._lanes.values():
            queue.claimers += 1
        self.start()

    def variants(self) -> dict[str, SeenVariant]:
        """As it introduces itself to routers."""
        return {
            lane: SeenVariant(SeenLatency.of(served.latency.current), served.batch_units, served.model.batch_jobs)
            for lane, served in self.served.items()
        }

    def state(self) -> SeenState:
        """How it is doing, for its reports."""
        lanes = tuple(
            SeenLane(
                lane,
                SeenLatency.of(served.latency.current),
                served.mean_jobs,
                served.mean_units,
                served.stands_back,
            )
            for lane, served in self.served.items()
        )
        busy_s = max(0.0, self.busy_until_s - self._engine.now_s) if self._running else 0.0
        return SeenState(tuple(self._lanes), lanes, int(busy_s * 1e6))

    def address(self, jobs: Sequence[Job]) -> None:
        """Jobs come over the link."""
        if self.is_up:
            self._stage(jobs)
            if not self._running:
                self._step()
        else:
            for job in jobs:
                job.router.lost(job, self)

    # What lanes call (lane.Claimer).

    def still_waits(self, ticket: int) -> bool:
        return self._waits and ticket == self._ticket

    def woken(self, lane: SharedLane, first: list[Job]) -> None:
        self._ticket += 1
        jobs = first + lane.claim(Want(self._part_of(lane) - len(first)))
        self._count(lane)
        self._on_their_way(jobs)
        self._engine.after(self._hop_s, self._claimed, self._life, jobs, True)

    def _warm_up(self) -> None:
        """Loads the models anew, and finds out how long their batches take."""
        engine = self._engine
        self._lead = Lead()
        self.shares = Shares(self._least, clock=lambda: engine.now_s)
        self.served = {lane: self._warm(lane, service) for lane, service in self._services.items()}

    def _warm(self, lane: str, service: ServiceConfig) -> BatchServed:
        engine = self._engine
        model = SimulatedModel(lane.partition("@")[0], service.batch_units, service.batch_jobs, service.batch_units)
        return BatchServed(
            model=cast("Model", model),
            lane=lane,
            latency=self.device.warmed_up(service),
            staging=Staging(asyncio.Event()),  # nobody waits for it: what happens next is the engine's
            policy=BatchPolicy(service.limits),
            clock=lambda: engine.now_s,
            arrivals=Arrivals(),
        )

    def _wait_for_work(self) -> None:
        if not self._waits and not self._claiming and self._lanes:
            self._waits = True
            self._ticket += 1
            self._engine.after(self._hop_s, self._wait_on_lanes, self._life, self._ticket)

    def _wait_on_lanes(self, life: int, ticket: int) -> None:
        if life != self._life:
            return
        jobs = [job for queue in self._lanes.values() for job in queue.claim(Want(self._part_of(queue)))]
        for queue in self._lanes.values():
            self._count(queue)
        if jobs:
            self._on_their_way(jobs)
            self._engine.after(self._hop_s, self._claimed, life, jobs, False)
            return
        for queue in self._lanes.values():
            queue.wait(self, ticket)

    def _claim_ahead(self, life: int) -> None:
        """Sends a prompt claim, unless one is under way."""
        if life == self._life and not self._claiming:
            self._claiming = True
            self._engine.after(self._hop_s, self._claim, life, self._engine.now_s)

    def _claim(self, life: int, sent_s: float) -> None:
        """It has come to the lanes."""
        if life != self._life:
            return
        jobs = []
        for queue in self._lanes.values():
            served = self.served[queue.name]
            if queue.jobs and (wanted := served.jobs_wanted) > 0:
                jobs += queue.claim(Want(wanted, self.shares.divided(wanted, served.left)))
            self._count(queue)
        self._on_their_way(jobs)
        self._engine.after(self._hop_s, self._claimed_ahead, life, jobs, sent_s)

    def _part_of(self, queue: SharedLane) -> int:
        """How many jobs an idle node takes: it leaves work for the others."""
        return -(-self.served[queue.name].jobs_wanted // max(1, queue.claimers)) if queue.jobs else 0

    def _count(self, queue: SharedLane) -> None:
        """How much waits behind what was claimed."""
        served = self.served[queue.name]
        served.siblings = max(1, queue.claimers)
        served.left = {tier: queue.depth(tier) for tier in TIERS} if queue.jobs else {}

    def _on_their_way(self, jobs: Sequence[Job]) -> None:
        """From here on they are this node's, and are lost with it."""
        for job in jobs:
            job.node = self

    def _claimed(self, life: int, jobs: list[Job], fresh: bool) -> None:
        """`fresh`: they came while it waited for them."""
        if self._have(life, jobs):
            self._waits = False
            self._stage(jobs)
            if fresh:
                self._learn(jobs)
            self._claim_more(jobs)
            if not self._running:
                self._step()

    def _claimed_ahead(self, life: int, jobs: list[Job], sent_s: float) -> None:
        if self._have(life, jobs):
            self._claiming = False
            self._lead.took(self._engine.now_s - sent_s)
            self._stage(jobs)
            self._claim_more(jobs)
            if not self._running:
                self._step()

    def _claim_more(self, claimed: Sequence[Job]) -> None:
        """It turns out that much more waits than was asked for (isochrone.node.claimer)."""
        if claimed and any(self.served[queue.name].is_short(self._lead.claim_s) for queue in self._lanes.values()):
            self._claim_ahead(self._life)

    def _have(self, life: int, jobs: Sequence[Job]) -> bool:
        """Whether this node still lives to run them."""
        if life == self._life:
            return True
        for job in jobs:  # nobody has said that he has them: their routers find them gone from the lane
            job.router.lost(job, self)
        return False

    def _learn(self, claimed: Sequence[Job]) -> None:
        """Jobs that an idle node waited for tell how tight such jobs are (isochrone.node.claimer)."""
        for lane in {job.lane for job in claimed}:
            served = self.served[lane]
            for job in _jobs(served):
                served.arrivals.fresh(job.objective_s - job.claimed_s)

    def _stage(self, jobs: Sequence[Job]) -> None:
        now_s = self._engine.now_s
        last: dict[str, int] = {}
        """The units of the last job of each lane: what a node says then is of all that are here."""
        fresh: dict[Owner, list[Job]] = {}
        for job in jobs:
            if job.end is not None and job.deadline_s < NEVER_S:
                continue  # withdrawn meanwhile
            job.node = self
            job.claimed_s = now_s
            served = self.served[job.lane]
            served.staging.add(cast("StagedJob", job))
            served.came(job.units, now_s)
            last[job.lane] = job.units
            fresh.setdefault(job.router, []).append(job)
        if fresh:
            work_s = sum(self.served[lane].work_s(units) for lane, units in last.items())
            before_s = sum(served.staged_s for lane, served in self.served.items() if lane not in last)
            finish_in_s = max(0.0, self.busy_until_s - now_s) + before_s + work_s
            for router, theirs in fresh.items():
                self._engine.after(self._hop_s, router.claimed, self, theirs, finish_in_s)

    def _step(self) -> None:
        """Closes a batch and runs it; without anything to run, waits for work. Jobs that are being claimed go along."""
        if self._claiming:
            return
        while True:
            staged = self._staged()
            if not staged:
                self._wait_for_work()
                return
            closings = [(served, self._closed(served)) for served in staged]
            served, closing = min(closings, key=lambda lane: urgency(lane[1], self._engine.now_s))
            served.staging.take(closing.drop)
            if closing.drop:
                self._give_up(cast("list[Job]", closing.drop))
                if self._lanes and closing.closed_by is not ClosedBy.FULL:
                    # The dead come up first in a lane: behind them may be a batch that is worth running.
                    self._claim_ahead(self._life)
                    return
            served.staging.take(closing.run)
            if closing.run:
                self._run(served, cast("list[Job]", closing.run))
                return

    def _staged(self) -> list[BatchServed]:
        """The lanes with staged jobs that somebody waits for."""
        for served in self.served.values():
            for job in _jobs(served):
                if job.end is not None and job.deadline_s < NEVER_S:
                    served.cancel(cast("JobKey", job.key))
        return [served for served in self.served.values() if served.staging]

    def _closed(self, served: BatchServed) -> Closing[StagedJob]:
        return served.close(self.shares.owed(served.tiers))

    def _run(self, served: BatchServed, jobs: list[Job]) -> None:
        now_s, life = self._engine.now_s, self._life
        units = 0
        for job in jobs:
            units += job.units
            job.started_s = now_s
        expected_s = served.latency.current.of(units)
        seconds = self.device.seconds(self._services[served.lane], units)
        self.busy_until_s = now_s + expected_s
        self._running = jobs
        # Ahead, where it hasn't ended by then and this isn't the event loop's own time.
        lead_s = self._lead.seconds
        if self._lanes and expected_s >= INLINE_S and seconds > expected_s - lead_s:
            self._engine.after(max(0.0, expected_s - lead_s), self._claim_ahead, life)
        self._engine.after(seconds, self._done, life, served, jobs, units, seconds)

    def _done(self, life: int, served: BatchServed, jobs: list[Job], units: int, seconds: float) -> None:
        self._tally.ran(self.pool, jobs, units=units, seconds=seconds, ended_s=self._engine.now_s)
        if life != self._life:
            return
        self.shares.spent(jobs, a_unit_s=seconds / units)
        served.ran(jobs=len(jobs), units=units, compute_s=seconds)
        self._running = []
        self._reply(jobs)
        self._step()

    def _reply(self, jobs: Sequence[Job]) -> None:
        for router, theirs in by_router(jobs).items():
            self._engine.after(self._hop_s, router.answered, self, theirs)

    def _give_up(self, jobs: Sequence[Job]) -> None:
        for router, theirs in by_router(jobs).items():
            self._engine.after(self._hop_s, router.dropped, self, theirs)


def by_router(jobs: Sequence[Job]) -> Mapping[Owner, Sequence[Job]]:
    """Jobs apart, by who owns them."""
    if len(jobs) == 1:
        return {jobs[0].router: jobs}
    found: dict[Owner, list[Job]] = {}
    for job in jobs:
        found.setdefault(job.router, []).append(job)
    return found


def _jobs(served: BatchServed) -> list[Job]:
    return cast("list[Job]", served.staging.jobs)
