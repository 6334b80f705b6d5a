"""A router on the virtual clock: places requests, judges answers, and sends again what was lost or is overdue."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from isochrone.simulator.engine import Engine
from isochrone.simulator.gate import Gate
from isochrone.simulator.job import NEVER_S, End, Job
from isochrone.simulator.lane import Fifo, SharedLane
from isochrone.simulator.tally import Tally
from isochrone_router.attempts import AttemptBudget
from isochrone_router.hedging import LOOK_AGAIN_S

ROUNDING_S = 1e-9


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

    def place(self, job: Job, now_s: float) -> SharedLane | Fifo | Node | str:
        """A queue or a node, with the lane noted in the job; or why it is refused."""

    def another(self, job: Job, now_s: float, *, but: Node | None) -> Node | None:
        """A node for a second attempt, since that one is gone."""

    def hedge(self, job: Job, now_s: float) -> Node | None:
        """A node for a copy of what is overdue, if that is worth it."""

    def overdue_after_s(self, lane: str, finish_in_s: float, now_s: float) -> float:
        """How long after its claim a job is overdue whose node promised that; infinite where nobody asks."""

    def left_lane(self, job: Job) -> None:
        """It was claimed, or withdrawn."""

    def claimed(self, node: Node, jobs: Sequence[Job], finish_in_s: float, now_s: float) -> None:
        """A node has said what it has, and when it expects to be done with it."""

    def answered(self, job: Job, now_s: float) -> None:
        """Its answer has come, if only too late."""

    def over(self, job: Job, took_s: float, now_s: float, *, teaches: bool) -> None:
        """It has ended. `teaches`: what it took says something of the lane."""


class Router:
    """One router process."""

    def __init__(
        self,
        placer: Placer,
        *,
        gate: Gate,
        engine: Engine,
        tally: Tally,
        hop_s: float,
        router_s: float,
        attempts: AttemptBudget,
    ) -> None:
        self._placer = placer
        self._gate = gate
        self._engine = engine
        self._tally = tally
        self._hop_s = hop_s
        self._router_s = router_s
        self._attempts = attempts
        self._expiring: dict[int, deque[Job]] = {}

    def __repr__(self) -> str:
        return f"<Router {self._placer!r}, {self._gate!r}>"

    def receive(self, job: Job) -> None:
        """A request has been read."""
        now_s = self._engine.now_s
        placed = self._placer.place(job, now_s)
        if isinstance(placed, str):
            self._tally.end(job, End.REFUSED, at_s=now_s, cause=f"refused: {placed}")
            return
        self._attempts.earn()
        self._watch(job)
        job.given_s = now_s + self._hop_s
        job.objective_s = job.promised_s - self._hop_s - self._router_s
        if isinstance(placed, SharedLane):
            self._gate.submit(placed, job)
        elif isinstance(placed, Fifo):
            self._engine.after(self._hop_s, placed.push, job)
        else:
            self._engine.after(self._hop_s, placed.address, (job,))

    # What nodes say.

    def claimed(self, node: Node, jobs: Sequence[Job], finish_in_s: float) -> None:
        now_s = self._engine.now_s
        for job in jobs:
            if job.in_lane:
                self._left_lane(job)
        self._placer.claimed(node, jobs, finish_in_s, now_s)
        overdue_s = now_s + self._placer.overdue_after_s(jobs[0].lane, finish_in_s, now_s)
        if overdue_s < NEVER_S:
            for job in jobs:
                job.overdue_s = overdue_s
            self._engine.at(overdue_s, self._look_after, node, jobs)

    def answered(self, node: Node, jobs: Sequence[Job]) -> None:
        answered_s = self._engine.now_s + self._router_s
        for job in jobs:
            if job.end is None:
                self._placer.answered(job, self._engine.now_s)
                if answered_s <= job.promised_s + ROUNDING_S:
                    self._end(job, End.IN_TIME, answered_s, teaches=True)
                elif answered_s <= job.worthless_s + ROUNDING_S:
                    self._end(job, End.LATE, answered_s, teaches=True)
                else:
                    self._end(job, End.EXPIRED, answered_s, teaches=True)

    def dropped(self, node: Node, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.end is None:
                self._end(job, End.DROPPED, self._engine.now_s, teaches=True, cause="dropped: too late to run")

    def lost(self, job: Job, node: Node) -> None:
        """Its node is gone."""
        if job.end is None and job.node is node and not self._resend(job, node):
            self._end(job, End.LOST, self._engine.now_s, teaches=False, cause="lost: its node died")

    def _end(self, job: Job, end: End, at_s: float, *, teaches: bool, cause: str = "") -> None:
        self._tally.end(job, end, at_s=at_s, cause=cause)
        if job.in_lane:
            self._left_lane(job)
        self._placer.over(job, at_s - job.arrived_s, self._engine.now_s, teaches=teaches)

    def _left_lane(self, job: Job) -> None:
        self._gate.left(job)
        self._placer.left_lane(job)

    def _look_after(self, node: Node, jobs: Sequence[Job]) -> None:
        """The node's own prediction has passed by a margin."""
        now_s = self._engine.now_s
        again = []
        for job in jobs:
            if job.end is None and job.node is node and job.overdue_s <= now_s + ROUNDING_S:
                job.overdue_s = NEVER_S
                other = self._placer.hedge(job, now_s)
                if other is None:
                    job.overdue_s = now_s + LOOK_AGAIN_S
                    again.append(job)
                elif self._attempts.take_spare():
                    self._send_again(job, other)
        if again:
            self._engine.after(LOOK_AGAIN_S, self._look_after, node, again)

    def _resend(self, job: Job, had: Node) -> bool:
        if job.in_lane:
            self._left_lane(job)
        other = self._placer.another(job, self._engine.now_s, but=had)
        if other is None or not self._attempts.take():
            return False
        self._send_again(job, other)
        return True

    def _send_again(self, job: Job, node: Node) -> None:
        job.attempts += 1
        job.node = node
        self._tally.second_attempts += 1
        self._engine.after(self._hop_s, node.address, (job,))

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
                self._end(job, End.EXPIRED, now_s, teaches=True)
        if expiring:
            self._engine.at(expiring[0].worthless_s, self._expire, expiring)
