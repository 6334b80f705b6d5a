"""A router on the virtual clock: places requests, judges answers, and sends again what was lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from isochrone.simulator.engine import Engine
from isochrone.simulator.job import NEVER_S, End, Job
from isochrone.simulator.lane import Fifo, SharedLane
from isochrone.simulator.tally import Tally
from isochrone_router.attempts import AttemptBudget
from isochrone_router.dispatch import OVERDUE_S

LEFT_S = 1e-9
"""Rounding."""


class Node(Protocol):
    """What requests are addressed to."""

    @property
    def name(self) -> str: ...
    @property
    def pool(self) -> str: ...
    @property
    def is_up(self) -> bool: ...

    def address(self, jobs: Sequence[Job]) -> None: ...


class Placer(Protocol):
    """Decides where a router's requests go, from what this router knows."""

    hedges: bool
    """Whether what is late beyond its node's own prediction is sent to another as well."""

    def place(self, job: Job, now_s: float) -> SharedLane | Fifo | Node | str:
        """A queue or a node, with the lane noted in the job; or why it is refused."""

    def another(self, job: Job, *, but: Node | None) -> Node | None:
        """A node for a second attempt."""

    def claimed(self, node: Node, jobs: Sequence[Job], finish_in_s: float, now_s: float) -> None:
        """A node has said what it has, and when it expects to be done with it."""

    def over(self, job: Job, now_s: float) -> None:
        """It was answered or dropped, or nobody waits for it any more."""


class Router:
    """One router process."""

    def __init__(
        self,
        placer: Placer,
        *,
        engine: Engine,
        tally: Tally,
        hop_s: float,
        router_s: float,
        attempts: AttemptBudget,
    ) -> None:
        self._placer = placer
        self._engine = engine
        self._tally = tally
        self._hop_s = hop_s
        self._router_s = router_s
        self._attempts = attempts
        self._expiring: dict[int, deque[Job]] = {}

    def __repr__(self) -> str:
        return f"<Router {self._placer!r}>"

    def receive(self, job: Job) -> None:
        """A request has been read."""
        self._attempts.earn()
        placed = self._placer.place(job, self._engine.now_s)
        if isinstance(placed, str):
            self._tally.end(job, End.REFUSED, at_s=self._engine.now_s, cause=f"refused: {placed}")
            return
        self._watch(job)
        job.given_s = self._engine.now_s + self._hop_s
        if isinstance(placed, SharedLane | Fifo):
            self._engine.after(self._hop_s, placed.push, job)
        else:
            self._engine.after(self._hop_s, placed.address, (job,))

    # What nodes say.

    def claimed(self, node: Node, jobs: Sequence[Job], finish_in_s: float) -> None:
        now_s = self._engine.now_s
        self._placer.claimed(node, jobs, finish_in_s, now_s)
        if self._placer.hedges:
            overdue_s = now_s + 1.5 * finish_in_s + OVERDUE_S
            for job in jobs:
                job.overdue_s = overdue_s
            self._engine.at(overdue_s, self._look_after, node, jobs)

    def answered(self, node: Node, jobs: Sequence[Job]) -> None:
        answered_s = self._engine.now_s + self._router_s
        for job in jobs:
            if job.end is None:
                if answered_s <= job.objective_s + LEFT_S:
                    self._end(job, End.IN_TIME, answered_s)
                elif answered_s <= job.worthless_s + LEFT_S:
                    self._end(job, End.LATE, answered_s)
                else:
                    self._end(job, End.EXPIRED, answered_s)

    def dropped(self, node: Node, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.end is None:
                self._end(job, End.DROPPED, self._engine.now_s, cause="dropped: too late to run")

    def lost(self, job: Job, node: Node) -> None:
        """Its node is gone."""
        if job.end is None and job.node in (node, None) and not self._resend(job, node):
            self._end(job, End.LOST, self._engine.now_s, cause="its node died")

    def gone(self, job: Job, node: Node) -> None:
        """It was taken out of its lane by a node that died before it said so."""
        self.lost(job, node)

    def _end(self, job: Job, end: End, at_s: float, *, cause: str = "") -> None:
        self._tally.end(job, end, at_s=at_s, cause=cause)
        self._placer.over(job, self._engine.now_s)

    def _look_after(self, node: Node, jobs: Sequence[Job]) -> None:
        """The node's own prediction has passed by a margin."""
        now_s = self._engine.now_s
        for job in jobs:
            if job.end is None and job.node is node and job.overdue_s <= now_s + LEFT_S:
                job.overdue_s = NEVER_S
                self._resend(job, node)

    def _resend(self, job: Job, had: Node) -> bool:
        other = self._placer.another(job, but=had)
        if other is None or not self._attempts.take():
            return False
        job.attempts += 1
        job.node = None
        self._tally.second_attempts += 1
        self._engine.after(self._hop_s, other.address, (job,))
        return True

    def _watch(self, job: Job) -> None:
        """Its caller gives up at its deadline. One event watches all of a route: they expire in their order."""
        expiring = self._expiring.get(job.route)
        if expiring is None:
            expiring = self._expiring[job.route] = deque()
        expiring.append(job)
        if len(expiring) == 1:
            self._engine.at(job.worthless_s, self._expire, expiring)

    def _expire(self, expiring: deque[Job]) -> None:
        now_s = self._engine.now_s
        while expiring and (expiring[0].end is not None or expiring[0].worthless_s <= now_s):
            job = expiring.popleft()
            if job.end is None:
                self._end(job, End.EXPIRED, now_s)
        if expiring:
            self._engine.at(expiring[0].worthless_s, self._expire, expiring)
