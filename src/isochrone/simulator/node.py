"""A node of this mesh on the virtual clock: it claims late, one batch ahead, and closes batches by the real policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isochrone.batching import BatchPolicy, jobs_to_claim
from isochrone.latency import LatencyModel
from isochrone.node.device import INLINE_S
from isochrone.node.loop import CLAIM_LEAD_S
from isochrone.simulator.device import Device
from isochrone.simulator.engine import Engine
from isochrone.simulator.job import NEVER_S, Job, Owner
from isochrone.simulator.lane import SharedLane
from isochrone.simulator.scenario import ServiceConfig
from isochrone.simulator.seen import SeenLane, SeenLatency, SeenState, SeenVariant
from isochrone.simulator.tally import Tally


class Served:
    """One variant on a node: what isochrone.node.served has of it."""

    __slots__ = ("latency", "mean_jobs", "mean_units", "mean_weight", "policy", "queue", "service", "staged", "units")

    def __init__(self, service: ServiceConfig, latency: LatencyModel, queue: SharedLane | None) -> None:
        self.service = service
        self.latency = latency
        self.queue = queue
        """The lane in Redis; none where all jobs are addressed."""
        self.policy = BatchPolicy(service.limits)
        self.staged: dict[int, Job] = {}
        self.units = 0
        self.mean_jobs = self.mean_units = self.mean_weight = 1.0

    @property
    def jobs_wanted(self) -> int:
        room = self.service.batch_units - self.units
        return (
            jobs_to_claim(room_units=room, mean_units=self.mean_weight, most=self.service.batch_jobs) if room > 0 else 0
        )

    def stage(self, job: Job) -> None:
        self.staged[job.number] = job
        self.units += job.units

    def take(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if self.staged.pop(job.number, None) is not None:
                self.units -= job.units

    def work_s(self, weight: int) -> float:
        return self.latency.current.of(self.units + weight)

    def ran(self, jobs: int, units: int, seconds: float) -> None:
        self.latency.observe(units, seconds)
        self.mean_jobs += 0.05 * (jobs - self.mean_jobs)
        self.mean_units += 0.05 * (units - self.mean_units)
        self.mean_weight += 0.05 * (units / jobs - self.mean_weight)


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
        tally: Tally,
    ) -> None:
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
        self._waits = self._prompt = self._pausing = False
        self._running: list[Job] = []
        self.served = self._warmed_up()

    def __repr__(self) -> str:
        return f"<MeshNode {self.name}, {'up' if self.is_up else 'down'}, {len(self._running)} jobs running>"

    def start(self) -> None:
        """Takes jobs from now on."""
        self._wait_for_work()

    def fail(self) -> list[Job]:
        """Its process dies. Gives the jobs that go with it."""
        lost = [*self._running, *(job for served in self.served.values() for job in served.staged.values())]
        self.is_up = False
        self._life += 1
        self._ticket += 1
        self._waits = self._prompt = self._pausing = False
        self._running = []
        for queue in self._lanes.values():
            queue.claimers -= 1
        return lost

    def come_back(self) -> None:
        """A new process, loaded and warm."""
        self.device.pace = 1.0
        self.served = self._warmed_up()
        self.is_up = True
        for queue in self._lanes.values():
            queue.claimers += 1
        self.start()

    def variants(self) -> dict[str, SeenVariant]:
        """As it introduces itself to routers."""
        return {
            lane: SeenVariant(SeenLatency.of(served.latency.current), served.service.batch_units)
            for lane, served in self.served.items()
        }

    def state(self) -> SeenState:
        """How it is doing, for its reports."""
        lanes = tuple(
            SeenLane(lane, SeenLatency.of(served.latency.current), served.mean_jobs, served.mean_units)
            for lane, served in self.served.items()
        )
        busy_s = max(0.0, self.busy_until_s - self._engine.now_s) if self._running else 0.0
        return SeenState(tuple(self._lanes), lanes, int(busy_s * 1e6))

    def address(self, jobs: Sequence[Job]) -> None:
        """Jobs come over the link."""
        if self.is_up:
            self._stage(jobs)
            if not self._running and not self._pausing:
                self._step()
        else:
            for job in jobs:
                job.router.lost(job, self)

    # What lanes call (lane.Claimer).

    def still_waits(self, ticket: int) -> bool:
        return self._waits and ticket == self._ticket

    def woken(self, lane: SharedLane, first: list[Job]) -> None:
        self._ticket += 1
        jobs = first + lane.claim(self._wanted_of(lane, alone=False) - len(first))
        self._on_their_way(jobs)
        self._engine.after(self._hop_s, self._claimed, self._life, jobs, True)

    def _warmed_up(self) -> dict[str, Served]:
        return {
            lane: Served(service, self.device.warmed_up(service), self._lanes.get(lane))
            for lane, service in self._services.items()
        }

    def _wait_for_work(self) -> None:
        if not self._waits and self._lanes:
            self._waits = True
            self._ticket += 1
            self._engine.after(self._hop_s, self._wait_on_lanes, self._life, self._ticket)

    def _wait_on_lanes(self, life: int, ticket: int) -> None:
        if life != self._life:
            return
        jobs = [job for queue in self._lanes.values() for job in queue.claim(self._wanted_of(queue, alone=False))]
        if jobs:
            self._on_their_way(jobs)
            self._engine.after(self._hop_s, self._claimed, life, jobs, True)
            return
        for queue in self._lanes.values():
            queue.wait(self, ticket)

    def _claim_in(self, seconds: float) -> None:
        """Sends a prompt claim by then."""
        self._engine.after(seconds + self._hop_s, self._claim, self._life)

    def _claim(self, life: int) -> None:
        """It has come to the lanes."""
        if life != self._life or self._prompt:
            return
        jobs = [job for queue in self._lanes.values() for job in queue.claim(self._wanted_of(queue, alone=True))]
        if jobs or self._pausing:
            self._prompt = True
            self._on_their_way(jobs)
            self._engine.after(self._hop_s, self._claimed, life, jobs, False)

    def _wanted_of(self, queue: SharedLane, *, alone: bool) -> int:
        """An idle node leaves work for the others."""
        if not queue.jobs:
            return 0
        wanted = self.served[queue.name].jobs_wanted
        return wanted if alone else -(-wanted // max(1, queue.claimers))

    def _on_their_way(self, jobs: Sequence[Job]) -> None:
        """From here on they are this node's, and are lost with it."""
        for job in jobs:
            job.node = self

    def _claimed(self, life: int, jobs: list[Job], waited: bool) -> None:
        if life != self._life:
            for job in jobs:  # nobody has said that he has them: their routers find them gone from the lane
                job.router.lost(job, self)
            return
        if waited:
            self._waits = False
        else:
            self._prompt = self._pausing = False
        self._stage(jobs)
        if not self._running and not self._pausing:
            self._step()

    def _stage(self, jobs: Sequence[Job]) -> None:
        now_s = self._engine.now_s
        work_s: dict[str, float] = {}
        fresh: dict[Owner, list[Job]] = {}
        for job in jobs:
            if job.end is not None and job.deadline_s < NEVER_S:
                continue  # withdrawn meanwhile
            job.node = self
            job.claimed_s = now_s
            served = self.served[job.lane]
            served.stage(job)
            work_s[job.lane] = served.work_s(0)
            fresh.setdefault(job.router, []).append(job)
        if fresh:
            finish_in_s = max(0.0, self.busy_until_s - now_s) + sum(work_s.values())
            for router, theirs in fresh.items():
                self._engine.after(self._hop_s, router.claimed, self, theirs, finish_in_s)

    def _step(self) -> None:
        """Closes a batch and runs it; without anything to run, waits for work."""
        while True:
            served = self._next()
            if served is None:
                self._wait_for_work()
                return
            now_s = self._engine.now_s
            closing = served.policy.close(list(served.staged.values()), now_s=now_s, latency=served.latency.current)
            served.take(closing.drop)
            if closing.drop:
                self._give_up(closing.drop)
                if served.queue is not None:
                    # The dead come up first in a lane: behind them may be a batch that is worth running.
                    self._pausing = True
                    if not self._prompt:
                        self._claim_in(0.0)
                    return
            served.take(closing.run)
            if closing.run:
                self._run(served, closing.run)
                return

    def _next(self) -> Served | None:
        """The lane with the most urgent staged job."""
        best: Served | None = None
        best_s = NEVER_S
        for served in self.served.values():
            for job in list(served.staged.values()):
                if job.end is not None and job.deadline_s < NEVER_S:
                    served.take((job,))  # cancelled
                elif job.objective_s < best_s:
                    best, best_s = served, job.objective_s
        return best

    def _run(self, served: Served, jobs: list[Job]) -> None:
        now_s, life = self._engine.now_s, self._life
        units = 0
        for job in jobs:
            units += job.units
            job.started_s = now_s
        expected_s = served.latency.current.of(units)
        seconds = self.device.seconds(served.service, units)
        self.busy_until_s = now_s + expected_s
        self._running = jobs
        # Ahead, where it hasn't ended by then and this isn't the event loop's own time.
        if self._lanes and expected_s >= INLINE_S and seconds > expected_s - CLAIM_LEAD_S:
            self._claim_in(max(0.0, expected_s - CLAIM_LEAD_S))
        self._engine.after(seconds, self._done, life, served, jobs, units, seconds)

    def _done(self, life: int, served: Served, jobs: list[Job], units: int, seconds: float) -> None:
        self._tally.ran(self.pool, jobs, units=units, seconds=seconds, ended_s=self._engine.now_s)
        if life != self._life:
            return
        served.ran(len(jobs), units, seconds)
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
