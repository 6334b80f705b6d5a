"""Where a request's budget went: plain numbers while it is under way, a BudgetReport when it is over."""

from __future__ import annotations

from dataclasses import dataclass

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
    batch: budget_pb2.BatchInfo | None = None
    """The batch it ran in; None where it never ran."""
    units: int = 0

    def report(self, now_s: float) -> budget_pb2.BudgetReport:
        """What the answer carries when it leaves now. On every answer's way, so it is written to be quick."""
        before_us = received_us = _us(self.received_s)
        now_us = _us(now_s)
        total_us = min(now_us - received_us, _MOST_US)
        objective_us = min(_us(self.objective_s), _MOST_US)
        stages = []
        moments = (self.submitted_s, self.claimed_s, self.started_s, self.computed_s, self.replied_s, now_s)
        for stage, moment_s in zip(_STAGES, moments, strict=True):
            moment_us = _us(moment_s)
            if not moment_us or moment_us > now_us:
                moment_us = now_us
            elif moment_us < before_us:
                moment_us = before_us
            stages.append(_spent(stage=stage, spent_us=min(moment_us - before_us, _MOST_US)))
            before_us = moment_us
        return budget_pb2.BudgetReport(
            objective_us=objective_us,
            deadline_us=min(_us(self.deadline_s), _MOST_US),
            total_us=total_us,
            missed=total_us > objective_us,
            stages=stages,
            lane=self.lane,
            node=self.node,
            attempts=self.attempts,
            direct=self.direct,
            batch=self.batch,
            units=self.units,
        )


_spent = budget_pb2.StageSpent
_MOST_US = 2**32 - 1


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
