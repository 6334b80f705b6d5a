"""The queues that nodes take jobs from: a lane as the mesh has it, and the plain FIFO of others."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Protocol

from isochrone.keys import TIERS, Tier
from isochrone.lane import Want
from isochrone.simulator.job import NEVER_S, Job

ONE = Want(1)


class Claimer(Protocol):
    """A node that waits on lanes."""

    def woken(self, lane: SharedLane, first: list[Job]) -> None:
        """It is this one's turn: it has the first job, and may take more."""

    def still_waits(self, ticket: int) -> bool:
        """Whether it waits since it took that ticket."""


class SharedLane:
    """A lane: sorted by when jobs are due, tier by tier. Whoever waited longest is woken for the next job."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.jobs = 0
        """That wait in it, those among them that were withdrawn."""
        self.claimers = 0
        """Nodes that claim from it."""
        self._tiers: dict[Tier, list[tuple[float, int, Job]]] = {tier: [] for tier in TIERS}
        self._waiting: deque[tuple[Claimer, int]] = deque()

    def __repr__(self) -> str:
        return f"<SharedLane {self.name}, {self.jobs} jobs>"

    def push(self, jobs: Sequence[Job]) -> None:
        """Adds jobs in one step, and wakes nodes for them: one job each, and then more for the first (BZPOPMIN, and the
        ZPOPMIN that waits behind it)."""
        for job in jobs:
            if job.end is None or job.deadline_s == NEVER_S:
                self._add(job)
        woken: list[tuple[Claimer, list[Job]]] = []
        waiting = self._waiting
        while waiting:
            first = self.claim(ONE)
            if not first:
                break
            while waiting:
                node, ticket = waiting.popleft()
                if node.still_waits(ticket):
                    woken.append((node, first))
                    break
            else:
                self._add(first[0])
        for node, first in woken:
            node.woken(self, first)

    def claim(self, want: Want) -> list[Job]:
        """Takes out the most urgent, tier by tier as wanted. What was withdrawn meanwhile isn't there."""
        claimed: list[Job] = []
        if not self.jobs:
            return claimed
        for tier, most in want.by_tier.items():
            heap = self._tiers[tier]
            enough = min(want.most, len(claimed) + most)
            while heap and len(claimed) < enough:
                job = heappop(heap)[2]
                self.jobs -= 1
                if job.end is None or job.deadline_s == NEVER_S:
                    claimed.append(job)
        return claimed

    def _add(self, job: Job) -> None:
        heappush(self._tiers[job.tier], (job.due_s, job.number, job))
        self.jobs += 1

    def depth(self, tier: Tier) -> int:
        """Jobs that wait in one tier."""
        return len(self._tiers[tier])

    def wait(self, node: Claimer, ticket: int) -> None:
        """The node is woken when its turn comes."""
        self._waiting.append((node, ticket))


class Server(Protocol):
    """A node that looks into a FIFO."""

    def look(self) -> None: ...


class Fifo:
    """A queue in the order of arrival, of one node or shared by several."""

    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self._free: dict[Server, None] = {}

    def __repr__(self) -> str:
        return f"<Fifo of {len(self.jobs)} jobs>"

    def push(self, job: Job) -> None:
        """Adds a job; the node that has been free longest looks at what there is."""
        self.jobs.append(job)
        if self._free:
            next(iter(self._free)).look()

    def take(self, count: int) -> Sequence[Job]:
        """The oldest."""
        jobs = self.jobs
        return [jobs.popleft() for _ in range(min(count, len(jobs)))]

    def is_free(self, node: Server) -> None:
        self._free[node] = None

    def is_busy(self, node: Server) -> None:
        self._free.pop(node, None)
