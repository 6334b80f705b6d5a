"""Where the latency budget of one answer went, as the router that owned the request saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isochrone.ledger import stage_name, stages
from isochrone.v1 import budget_pb2


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the planner sent a request, what it expected of that, and what came of it; or why it was refused."""

    why: str
    """ "cheapest", "fastest", "smaller", "late" or "addressed"; of a refusal, its reason: "OVERLOAD"."""
    expected_ms: float
    """From its arrival to its answer, as it was planned; 0 where nothing was foretold."""
    within_ms: float
    """The same for `target` of all such requests; 0 of a refusal."""
    target: float
    """The fraction of the route's answers that should meet their objective."""
    retry_after_ms: float
    """Of a refusal: when to come back; 0 where that isn't known."""
    held_ms: float
    """How long it waited in the router for company, before it went to a dear device; part of `expected_ms`."""
    device: str
    """The device class that it was for, "cpu"."""
    cost: float
    """Of the answer's share of its device, in what `devices: cost_per_hour` is given in."""
    joules: float
    """The same in energy; 0 where the device's watts aren't configured."""


@dataclass(frozen=True, slots=True)
class Fallback:
    """Says that an answer was not made for its request, but stands in for one."""

    source: str
    """ "last_good", "static" or "route"."""
    route: str
    """The one that answered instead; empty where none did."""
    age_s: float
    """Of a last good answer: since it was made."""
    reason: str
    """What the request had failed with: "OVERLOAD"."""


@dataclass(frozen=True, slots=True, repr=False)
class Budget:
    """One request's SLA and the ledger of what each stage spent. All times are milliseconds. Worked out when it is
    asked for: most answers' budgets are never looked at."""

    report: budget_pb2.BudgetReport
    """All of it, as it was sent."""

    def __repr__(self) -> str:
        verdict = "missed" if self.missed else "in time"
        spent = f"{self.total_ms:.2f} of {self.objective_ms:g} ms"
        if self.report.first_us:
            spent = f"{self.first_ms:.2f} of {self.objective_ms:g} ms to the first of {self.chunks} chunks"
        where = f"{self.lane} on {self.node}" if self.fallback is None else f"by {self.fallback}"
        return f"<Budget {spent}, {verdict}, {where}>"

    @property
    def objective_ms(self) -> float:
        """What the router planned for."""
        return self.report.objective_us / 1e3

    @property
    def deadline_ms(self) -> float:
        """Past it the answer would have been worthless; the caller's timeout, where that was shorter."""
        return self.report.deadline_us / 1e3

    @property
    def total_ms(self) -> float:
        """From the request's arrival at the router to the answer; the way to the caller is not in it."""
        return self.report.total_us / 1e3

    @property
    def first_ms(self) -> float:
        """From the request's arrival to the first chunk, where the answer streams; 0 where it doesn't."""
        return self.report.first_us / 1e3

    @property
    def chunks(self) -> int:
        return self.report.chunks

    @property
    def missed(self) -> bool:
        """The total is over the objective; where the answer streams, the time to its first chunk."""
        return self.report.missed

    @property
    def blame(self) -> str | None:
        """Where it missed: the stage that overran most what it usually takes; None where nothing is to blame."""
        return stage_name(self.report.blame) if self.report.blame else None

    @property
    def stages(self) -> Mapping[str, float]:
        """Stage to milliseconds, in the order of the way: admit, queue, batch_wait, compute, link, answer."""
        return {stage: spent_us / 1e3 for stage, spent_us in stages(self.report)}

    @property
    def lane(self) -> str:
        return self.report.lane

    @property
    def node(self) -> str:
        return self.report.node

    @property
    def caller(self) -> str:
        """Whom the router took its caller for; "anonymous" where it knows no callers, empty where it didn't know it."""
        return self.report.caller

    @property
    def tier(self) -> str:
        return self.report.tier

    @property
    def trace_id(self) -> str:
        """In hex, as `isochrone explain` and trace viewers take it; the caller's, where it had one."""
        return self.report.trace_id.hex()

    @property
    def attempts(self) -> int:
        return self.report.attempts

    @property
    def won(self) -> int:
        """Where it was sent more than once: which attempt was the answer; else 0."""
        return self.report.won

    @property
    def decision(self) -> Decision | None:
        """What was planned for it; None where nobody had to: of a fan-out, at a node's own API."""
        if not self.report.HasField("decision"):
            return None
        told = self.report.decision
        return Decision(
            why=told.why,
            expected_ms=told.expected_us / 1e3,
            within_ms=told.quantile_us / 1e3,
            target=told.target,
            retry_after_ms=told.retry_after_us / 1e3,
            held_ms=told.held_us / 1e3,
            device=told.device,
            cost=told.cost,
            joules=told.joules,
        )

    @property
    def cost(self) -> float:
        """What the answer has cost: of its share of a device, in what `devices: cost_per_hour` is given in."""
        return self.report.decision.cost

    @property
    def batch_jobs(self) -> int:
        """Requests that ran in the same forward call, this one included; 0 where it never ran."""
        return self.report.batch.jobs

    @property
    def batch_units(self) -> int:
        return self.report.batch.units

    @property
    def closed_by(self) -> str:
        """Why its batch ran when it did."""
        return self.report.batch.closed_by

    @property
    def fallback(self) -> Fallback | None:
        """What stands in for an answer of its own; None where the answer is its own."""
        if not self.report.HasField("fallback"):
            return None
        told = self.report.fallback
        return Fallback(told.source, told.route, told.age_ms / 1e3, told.reason)
