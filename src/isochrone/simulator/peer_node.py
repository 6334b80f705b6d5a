"""A node as others have it: takes batches off queues in the order of arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isochrone.simulator.device import Device
from isochrone.simulator.engine import Engine
from isochrone.simulator.job import Job
from isochrone.simulator.lane import Fifo
from isochrone.simulator.node import by_router
from isochrone.simulator.peers import Batcher
from isochrone.simulator.scenario import ServiceConfig
from isochrone.simulator.tally import Tally


class PeerNode:
    """One device behind one queue per variant, its own or shared with other nodes."""

    def __init__(
        self,
        name: str,
        pool: str,
        services: Mapping[str, ServiceConfig],
        *,
        queues: Mapping[str, Fifo],
        batchers: Mapping[str, Batcher],
        shared: bool,
        drops: bool,
        device: Device,
        engine: Engine,
        hop_s: float,
        tally: Tally,
    ) -> None:
        self.name = name
        self.pool = pool
        self.device = device
        self.is_up = True
        self._services = services
        self._queues = queues
        self._batchers = batchers
        self._shared = shared
        self._drops = drops
        self._engine = engine
        self._hop_s = hop_s
        self._tally = tally
        self._life = 0
        self._running: list[Job] = []
        self._looks_at_s = float("inf")

    def __repr__(self) -> str:
        return f"<PeerNode {self.name}, {'up' if self.is_up else 'down'}, {len(self._running)} jobs running>"

    def start(self) -> None:
        """Takes jobs from now on."""
        self._free()
        self.look()

    def fail(self) -> list[Job]:
        """Its process dies. Gives the jobs that go with it: what a shared queue holds is there for others."""
        lost = list(self._running)
        for queue in self._queues.values():
            queue.is_busy(self)
            if not self._shared:
                lost += queue.take(len(queue.jobs))
        self.is_up = False
        self._life += 1
        self._running = []
        self._looks_at_s = float("inf")
        return lost

    def come_back(self) -> None:
        """A new process, loaded and warm."""
        self.device.pace = 1.0
        self.is_up = True
        self.start()

    def address(self, jobs: Sequence[Job]) -> None:
        """Jobs come to its own queues."""
        for job in jobs:
            if self.is_up:
                job.node = self
                job.claimed_s = self._engine.now_s
                self._queues[job.lane].push(job)
            else:
                job.router.lost(job, self)

    def look(self) -> None:
        """Runs a batch if there is one; if one is about to be, looks again then."""
        if self._running or not self.is_up:
            return
        now_s = self._engine.now_s
        if self._drops:
            self._drop_expired(now_s)
        again_s = float("inf")
        filled = [lane for lane, queue in self._queues.items() if queue.jobs]
        for lane in sorted(filled, key=lambda lane: self._queues[lane].jobs[0].given_s):
            taken = self._batchers[lane].take(self._queues[lane].jobs, now_s)
            if taken.jobs:
                self._run(lane, list(self._queues[lane].take(taken.jobs)))
                return
            if taken.again_s is not None:
                again_s = min(again_s, taken.again_s)
        if again_s < self._looks_at_s or self._looks_at_s <= now_s:
            self._looks_at_s = again_s
            if again_s < float("inf"):
                self._engine.at(again_s, self._look_again, self._life)

    def _look_again(self, life: int) -> None:
        if life == self._life:
            self.look()

    def _free(self) -> None:
        for queue in self._queues.values():
            queue.is_free(self)

    def _drop_expired(self, now_s: float) -> None:
        expired = []
        for queue in self._queues.values():
            jobs = queue.jobs
            while jobs and jobs[0].worthless_s <= now_s:
                expired.append(jobs.popleft())
        for router, theirs in by_router(expired).items():
            self._engine.after(self._hop_s, router.dropped, self, theirs)

    def _run(self, lane: str, jobs: list[Job]) -> None:
        now_s = self._engine.now_s
        for queue in self._queues.values():
            queue.is_busy(self)
        units = 0
        for job in jobs:
            units += job.units
            job.started_s = now_s
            if self._shared:
                job.node, job.claimed_s = self, now_s
        self._running = jobs
        seconds = self.device.seconds(self._services[lane], units)
        self._engine.after(seconds, self._done, self._life, lane, jobs, units, seconds)

    def _done(self, life: int, lane: str, jobs: list[Job], units: int, seconds: float) -> None:
        self._tally.ran(self.pool, jobs, units=units, seconds=seconds, ended_s=self._engine.now_s)
        if life != self._life:
            return
        self._batchers[lane].ran(seconds)
        self._running = []
        for router, theirs in by_router(jobs).items():
            self._engine.after(self._hop_s, router.answered, self, theirs)
        self._free()
        self.look()
