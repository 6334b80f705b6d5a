"""Sends jobs a second time: where to, within which budget, and how often that was done and denied."""

from __future__ import annotations

from collections.abc import Callable

from isochrone.deadline import Clock
from isochrone.errors import Unavailable
from isochrone.link.node_link import NodeLink
from isochrone_router.attempts import AttemptBudget
from isochrone_router.flight import Flight
from isochrone_router.hedging import hedge_to
from isochrone_router.lane_view import LinkedNode
from isochrone_router.past import Try


class SecondAttempts:
    """Of all requests of this process. When one is called for, the dispatcher says."""

    def __init__(self, budget: AttemptBudget, *, address: Callable[[Flight, NodeLink], None], clock: Clock) -> None:
        """`address` sends a job straight to a node."""
        self._budget = budget
        self._address = address
        self._clock = clock
        self.made = 0
        self.denied = 0
        """That were called for and not made: the attempt budget was spent."""
        self.hedges = 0
        """Of those made, such as were made while the first might still be answered."""
        self.hedges_won = 0
        """Of these, such as were answered first."""
        self.hedges_denied = 0
        """Of those denied: the attempt budget was not full enough."""

    def __repr__(self) -> str:
        return f"<SecondAttempts {self.made} made, {self.hedges} of them hedges, {self.denied} denied>"

    def hedge(self, flight: Flight) -> bool:
        """Sends a copy to another node, if one is likely to answer in time and nobody waits for it. False where there
        is none now."""
        node = hedge_to(flight, now_s=self._clock())
        if node is None:
            return False
        if self._budget.take_spare():
            self.hedges += 1
            self._send(flight, node, had=flight.holders[-1], why="its node is late")
            flight.hedge = flight.job.attempt
        else:
            self.denied += 1
            self.hedges_denied += 1
        return True

    def resend(
        self,
        flight: Flight,
        *,
        why: str,
        had: NodeLink | None = None,
        may_answer: bool = False,
        not_run: bool = False,
    ) -> None:
        """Sends a job to another node than the one that had it. `may_answer`: it still may. `not_run`: no node has run
        that copy or will, so this costs no extra load, unless another copy is under way."""
        if flight.is_over or (not_run and flight.holders):
            return
        node = resend_to(flight, had=had, now_s=self._clock())
        if node is not None:
            if not_run or self._budget.take():
                self._send(flight, node, had=had, why=why, not_run=not_run)
                return
            self.denied += 1
        if not may_answer and not flight.holders:
            flight.fail(Unavailable(f"{why}, and there is no other to ask", reason="NODE_LOST"))

    def turned_up(self, flight: Flight) -> None:
        """A node has the job that was thought to be lost. Where it was sent again at no cost, as one that nobody had,
        that was a second attempt after all."""
        if len(flight.tries) >= flight.ledger.attempts:
            self._budget.take()
            self.made += 1
            flight.ledger.attempts += 1

    def answered(self, flight: Flight, *, attempt: int) -> None:
        """A job that was sent more than once is answered by that attempt."""
        self.hedges_won += flight.hedge == attempt

    def _send(self, flight: Flight, node: LinkedNode, *, had: NodeLink | None, why: str, not_run: bool = False) -> None:
        if not not_run:
            self.made += 1
            flight.job.attempt += 1
            flight.ledger.attempts += 1
        now_s = self._clock()
        flight.tries.append(Try("" if had is None else had.name, flight.tried_from_s, now_s, why))
        flight.tried_from_s = now_s
        flight.lane = flight.job.lane = flight.ledger.lane = node.lane
        self._address(flight, node.link)


def resend_to(flight: Flight, *, had: NodeLink | None, now_s: float) -> LinkedNode | None:
    """The node of its lane that would be done with a job first, of those that neither had it nor have it; where the
    lane has no such node, of the other lanes that may answer it: better a dearer answer than none."""
    own: list[LinkedNode] = []
    others: list[LinkedNode] = []
    for view in flight.alternatives:
        nodes = own if view.lane == flight.lane else others
        nodes += [node for node in view.nodes if node.link is not had and node.link not in flight.holders]
    units = flight.job.weight
    return min(own or others, key=lambda node: node.done_in_s(units, now_s=now_s), default=None)
