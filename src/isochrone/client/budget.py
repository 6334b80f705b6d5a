"""Where the latency budget of one answer went, as the router that owned the request saw it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from google.protobuf.message import DecodeError

from isochrone.ledger import stages
from isochrone.v1 import budget_pb2


@dataclass(frozen=True, slots=True)
class Budget:
    """One request's SLA and the ledger of what each stage spent. All times are milliseconds."""

    objective_ms: float
    """What the router planned for."""
    deadline_ms: float
    """Past it the answer would have been worthless; the caller's timeout, where that was shorter."""
    total_ms: float
    """From the request's arrival at the router to the answer; the way to the caller is not in it."""
    missed: bool
    """The total is over the objective."""
    stages: Mapping[str, float]
    """Stage to milliseconds, in the order of the way: admit, queue, batch_wait, compute, link, answer."""
    lane: str
    node: str
    attempts: int
    batch_jobs: int
    """Requests that ran in the same forward call, this one included; 0 where it never ran."""
    batch_units: int
    closed_by: str
    """Why its batch ran when it did."""
    report: budget_pb2.BudgetReport = field(repr=False, compare=False)
    """All of it, as it was sent."""

    @classmethod
    def from_report(cls, report: budget_pb2.BudgetReport) -> Budget:
        """The report in milliseconds."""
        return cls(
            objective_ms=report.objective_us / 1e3,
            deadline_ms=report.deadline_us / 1e3,
            total_ms=report.total_us / 1e3,
            missed=report.missed,
            stages=MappingProxyType({stage: spent_us / 1e3 for stage, spent_us in stages(report)}),
            lane=report.lane,
            node=report.node,
            attempts=report.attempts,
            batch_jobs=report.batch.jobs,
            batch_units=report.batch.units,
            closed_by=report.batch.closed_by,
            report=report,
        )

    @classmethod
    def from_bytes(cls, data: bytes | None) -> Budget | None:
        """The budget in an answer's metadata, None where there was none.

        One that can't be read is None too: a report must never spoil the answer that it came with.
        """
        if data is None:
            return None
        try:
            return cls.from_report(budget_pb2.BudgetReport.FromString(data))
        except DecodeError:
            return None
