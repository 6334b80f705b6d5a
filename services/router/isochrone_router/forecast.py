"""When a job would be answered that goes into a lane now: numbers, from what its nodes and its routers last said."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp
from typing import Protocol

from isochrone.keys import TIERS, Tier
from isochrone_router.waiting import RANK, Waiting

LOAD_S, FADE_S = 0.25, 0.002
"""Over how long the load is measured, and how often what is past is let fade."""
LOOK_S, LOOK_MOST_S = 0.001, 0.010
"""How long the moment at which a node will be free holds good, and at most where that is far off."""


class NodeFacts(Protocol):
    """A node of a lane, as a router knows it. Times are on the router's clock."""

    @property
    def claims(self) -> bool:
        """Whether it takes jobs from the lane; else only such as are addressed to it."""

    @property
    def base_s(self) -> float: ...
    @property
    def per_unit_s(self) -> float: ...
    @property
    def batch_units(self) -> int:
        """The most units of one batch; 0 where it answers step by step."""

    @property
    def weight(self) -> float:
        """Units of a job, lately."""

    @property
    def per_job_s(self) -> float:
        """Of one more job, in batches as they were lately."""

    @property
    def free_at_s(self) -> float:
        """When what it has should be done."""

    @property
    def backlog_s(self) -> float:
        """Predicted seconds of work that it has been given and hasn't answered."""

    def done_in_s(self, units: float, *, now_s: float) -> float:
        """Until it would be done with a job of that weight that is addressed to it."""


class Forecast:
    """One lane's. `renew` takes in what nodes have said, `submitted` and `left` what becomes of jobs."""

    def __init__(self, *, cost_per_s: float = 1.0, shares: Sequence[float] = (0.0,) * len(TIERS)) -> None:
        """`shares`: the least of the lane's time that each tier gets, in the order of TIERS."""
        self.cost_per_s = cost_per_s
        self.waiting = Waiting()
        self.nodes: Sequence[NodeFacts] = ()
        """Those that claim from the lane."""
        self.base_s = self.per_unit_s = self.per_job_s = 0.0
        self.batch_units = 0
        self.weight = 1.0
        self.best_base_s = self.best_per_unit_s = 0.0
        self._shares = shares
        self._free_at_s = self._look_at_s = 0.0
        self._load = [0.0] * len(TIERS)
        self._load_at_s = 0.0
        self.routers = 1
        """How many send jobs to the lane."""
        self.beside: Sequence[tuple[Forecast, float]] = ()
        """Other lanes that its nodes claim from, each with the part of that lane's work that falls to them."""

    def __repr__(self) -> str:
        line = f"{self.base_s * 1e3:.2f} ms + {self.per_unit_s * 1e6:.1f} µs a unit on {len(self.nodes)} nodes"
        return f"<Forecast {line}, {self.waiting!r}>"

    @property
    def streams(self) -> bool:
        """Whether its nodes answer step by step: then only experience says how long that takes."""
        return not self.batch_units

    def renew(self, nodes: Sequence[NodeFacts]) -> None:
        """Works the numbers out anew from the nodes that claim from the lane."""
        self.nodes = nodes
        self._look_at_s = 0.0
        if not nodes:
            return
        base_s = per_unit_s = per_job_s = weight = 0.0
        batch_units, best, best_s = 2**31, nodes[0], float("inf")
        for node in nodes:
            base_s += node.base_s
            per_unit_s += node.per_unit_s
            per_job_s += node.per_job_s
            weight += node.weight
            batch_units = min(batch_units, node.batch_units)
            takes_s = node.base_s + node.per_unit_s * self.weight
            if takes_s < best_s:
                best, best_s = node, takes_s
        count = len(nodes)
        self.batch_units = batch_units
        self.base_s, self.per_unit_s, self.per_job_s = base_s / count, per_unit_s / count, per_job_s / count
        self.weight = max(1.0, weight / count)
        self.best_base_s, self.best_per_unit_s = best.base_s, best.per_unit_s

    def is_next(self, units: float, *, foretold_s: float, ahead: float) -> bool:
        """Whether no more goes first than its nodes can begin with: what runs, and a batch each."""
        if ahead * self.weight > self.batch_units * len(self.nodes):
            return False
        return self.streams or foretold_s <= self.alone_s(units) + 2 * self.alone_s(self.batch_units)

    def cost_of(self, units: float) -> float:
        """Of a request of so many units in a full batch, at what its devices cost."""
        if self.streams:
            return self.cost_per_s * (self.per_job_s or self.base_s + self.per_unit_s * units)
        return self.cost_per_s * (self.base_s / self.batch_units + self.per_unit_s) * units

    def alone_s(self, units: float) -> float:
        """With nothing else to do."""
        return 0.0 if self.streams else self.base_s + self.per_unit_s * units

    def at_best_s(self, units: float) -> float:
        """With nothing else to do, on its quickest node."""
        return 0.0 if self.streams else self.best_base_s + self.best_per_unit_s * units

    def finish(self, units: float, *, rank: int, due_s: float, now_s: float) -> tuple[float, float]:
        """When a job of that weight and tier would be done, in seconds from now, if it is due at `due_s`; and how many
        jobs go first. Some node claims from the lane."""
        ahead = self.waiting.ahead(rank, due_s)
        count = len(self.nodes)
        if self.batch_units:
            wait_s = self._free_in_s(now_s)
            base_s, per_unit_s = self.base_s, self.per_unit_s
            full = self._full(units, due_s - now_s)
            rounds, rest = divmod(ahead * self.weight, full * count)
            if rounds:
                round_s = base_s + per_unit_s * full
                behind_s = rounds * round_s / self._left_for(rank, full)
                # However much higher tiers want, its own has its share of the time: behind its own alone.
                own = self.waiting.of_its_own(rank, due_s)
                own_rounds = own * self.weight / (full * count)
                if rank and self._shares[rank] and own_rounds * round_s < behind_s * self._shares[rank]:
                    behind_s = own_rounds * round_s / self._shares[rank]
                    ahead = max(own, 1.0)
                wait_s += behind_s
            for other, part in self.beside:
                others = other.waiting.ahead(rank, due_s) * part
                if others and other.batch_units:
                    wait_s += other.takes_s(others / count)
                    ahead += others
            with_company = rest / count + units
            foretold_s = wait_s + base_s + per_unit_s * (with_company if with_company < full else max(full, units))
        else:
            foretold_s = ahead * self.per_job_s / count
        return foretold_s, ahead

    def takes_s(self, jobs: float) -> float:
        """One of its nodes to do so many jobs as they come, one batch after the other."""
        units = jobs * self.weight
        return self.base_s * ceil(units / self.batch_units) + self.per_unit_s * units

    def spare(self, units: float, *, rank: int, now_s: float, within_s: float) -> float:
        """The share of the lane's time that work in time leaves to such as will be late."""
        self._fade(now_s)
        taken = self._taken(rank + 1, self._full(units, within_s))
        for other, part in self.beside:
            other._fade(now_s)
            taken += other._taken(rank + 1, other.batch_units) * part * len(other.nodes) / len(self.nodes)
        return 1 - taken

    def jobs_within(self, seconds: float) -> int:
        """How many more jobs that time is enough for."""
        if self.streams or not self.nodes:
            return 1
        return int(seconds * self._units_per_s(self.batch_units) / self.weight)

    def submitted(self, tier: Tier, *, units: float, due_s: float, late: bool, now_s: float) -> None:
        """A job has gone into the lane."""
        self.waiting.add(tier, due_s)
        if not late:
            self._fade(now_s)
            self._load[RANK[tier]] += units

    def left(self, tier: Tier, due_s: float) -> None:
        """It waits there no longer."""
        self.waiting.remove(tier, due_s)

    def _full(self, units: float, within_s: float) -> float:
        """Units of the largest batches that are run for jobs with so much time: half of it is waited."""
        fits = (0.5 * within_s - self.base_s) / self.per_unit_s if self.per_unit_s > 0 else self.batch_units
        return max(units, min(fits, self.batch_units))

    def _units_per_s(self, full: float) -> float:
        return len(self.nodes) * full / max(self.base_s + self.per_unit_s * full, 1e-9)

    def _left_for(self, rank: int, full: float) -> float:
        """The share of the lane's time that a tier gets while there is work: what higher ones leave it, and not what
        lower ones are owed."""
        waiting, shares = self.waiting, self._shares
        owed = sum(shares[lower] for lower in range(rank + 1, len(TIERS)) if waiting.has(lower))
        return max(min(1.0 - owed, 1.0 - self._taken(rank, full)), shares[rank], 0.01)

    def _taken(self, ranks: int, full: float) -> float:
        """The share of the lane's time that work in time of the highest so many tiers takes."""
        if not ranks or not self.nodes or not full:
            return 0.0
        return sum(self._load[:ranks]) * self.routers / LOAD_S / self._units_per_s(full)

    def _fade(self, now_s: float) -> None:
        since_s = now_s - self._load_at_s
        if since_s >= FADE_S:
            keep = exp(-since_s / LOAD_S)
            self._load = [load * keep for load in self._load]
            self._load_at_s = now_s

    def _free_in_s(self, now_s: float) -> float:
        """Until the first of its nodes is free."""
        if now_s >= self._look_at_s:
            first_s = float("inf")
            for node in self.nodes:
                free_at_s = node.free_at_s
                if free_at_s < first_s:
                    first_s = free_at_s
                    if free_at_s <= now_s:
                        break
            self._free_at_s = first_s
            self._look_at_s = now_s + min(max(LOOK_S, (first_s - now_s) / 8), LOOK_MOST_S)
        return max(0.0, self._free_at_s - now_s)
