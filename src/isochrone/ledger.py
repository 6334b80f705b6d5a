"""Where a request's budget went: plain numbers while it is under way, a BudgetReport when it is over."""

from __future__ import annotations

from dataclasses import dataclass, field

from isochrone.v1 import budget_pb2

_STAGES = (
    budget_pb2.STAGE_ADMIT,
    budget_pb2.STAGE_QUEUE,
    budget_pb2.STAGE_BATCH_WAIT,
    budget_pb2.STAGE_COMPUTE,
    budget_pb2.STAGE_LINK,
    budget_pb2.STAGE_ANSWER,
)


@dataclass(slots=True)
class Ledger:
    """The moments of one request, in seconds on its owner's clock; each stage lies between two of them.

    A moment that never came (the job was not claimed, its batch never ran) is 0: the stage before it then
    lasted until the end. Moments that a node reports are off by at most half a ping's round trip, so they are
    kept in order here.
    """

    received_s: float
    objective_s: float
    """How long it may take, from when it was received."""
    deadline_s: float
    submitted_s: float = 0.0
    claimed_s: float = 0.0
    started_s: float = 0.0
    computed_s: float = 0.0
    replied_s: float = 0.0
    lane: str = ""
    node: str = ""
    attempts: int = 0
    direct: bool = False
    batch: budget_pb2.BatchInfo = field(default_factory=budget_pb2.BatchInfo)
    units: int = 0

    def report(self, now_s: float) -> budget_pb2.BudgetReport:
        """What the answer carries when it leaves now."""
        total_us = _us(now_s - self.received_s)
        report = budget_pb2.BudgetReport(
            objective_us=_us(self.objective_s),
            deadline_us=_us(self.deadline_s),
            total_us=total_us,
            missed=total_us > _us(self.objective_s),
            lane=self.lane,
            node=self.node,
            attempts=self.attempts,
            direct=self.direct,
            units=self.units,
        )
        if self.batch.jobs:
            report.batch.CopyFrom(self.batch)
        before_s = self.received_s
        moments = (self.submitted_s, self.claimed_s, self.started_s, self.computed_s, self.replied_s, now_s)
        for stage, moment_s in zip(_STAGES, moments, strict=True):
            if not moment_s:
                moment_s = now_s
            moment_s = max(before_s, min(moment_s, now_s))
            report.stages.add(stage=stage, spent_us=_us(moment_s - before_s))
            before_s = moment_s
        return report


def _us(seconds: float) -> int:
    return max(0, min(round(seconds * 1e6), 2**32 - 1))
