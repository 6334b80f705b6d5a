"""Where a request's budget went: plain numbers while it is under way, a BudgetReport when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from isochrone.v1 import budget_pb2

_NAMES = {number: name.removeprefix("STAGE_").lower() for name, number in budget_pb2.Stage.items()}


def stage_name(stage: int) -> str:
    """ "batch_wait"; one that only a newer router knows keeps its number, "stage_17"."""
    return _NAMES.get(stage, f"stage_{stage}")


def stages(report: budget_pb2.BudgetReport) -> Iterator[tuple[str, int]]:
    """The stages in their order, by name, each with the microseconds it took."""
    for stage, spent_us in enumerate(report.stage_us, 1):
        yield stage_name(stage), spent_us


@dataclass(slots=True)
class Ledger:
    """The moments of one request, in seconds on its owner's clock; each stage lies between two of them.

    A moment that never came (the job was not claimed, its batch never ran) is 0: the stage before it then
    lasted until the end. Moments that a node reports are off by at most half a ping's round trip, so they are
    kept in order here.
    """

    received_s: float
    objective_s: float
    """How long it may take, from when it was received. Neither is more than an hour."""
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
    first_s: float = 0.0
    """When the first chunk came, of an answer that streams. The objective is for that."""
    chunks: int = 0
    tier: str = "standard"
    trace_id: bytes = b""
    opening: bytes = b""
    """What its report begins with, as a serialised BudgetReport: where the planner sent it and why, or why not. It is
    the same for all that share a plan, and parsing that again is quicker than saying it again."""
    caller: str = ""
    """By its configured name; empty where nobody here knows it, or nobody asks."""
    won: int = 0
    """Which attempt was the answer."""

    def report(self, now_s: float) -> budget_pb2.BudgetReport:
        """What the answer carries when it leaves now. On every answer's way, so it is written to be quick."""
        before_us = received_us = int(self.received_s * 1e6)
        now_us = int(now_s * 1e6)
        stage_us = []
        for moment_s in (self.submitted_s, self.claimed_s, self.started_s, self.computed_s, self.replied_s):
            moment_us = int(moment_s * 1e6)
            if not moment_us or moment_us > now_us:
                moment_us = now_us
            elif moment_us < before_us:
                moment_us = before_us
            stage_us.append(moment_us - before_us)
            before_us = moment_us
        stage_us.append(now_us - before_us)
        total_us = now_us - received_us
        objective_us = int(self.objective_s * 1e6)
        # Field by field: a constructor with all of them takes twice as long.
        report = budget_pb2.BudgetReport.FromString(self.opening)
        report.objective_us = objective_us
        report.deadline_us = int(self.deadline_s * 1e6)
        report.total_us = total_us
        report.missed = total_us > objective_us
        report.stage_us.extend(stage_us)
        report.lane = self.lane
        report.node = self.node
        report.attempts = self.attempts
        report.direct = self.direct
        if self.batch is not None:
            report.batch.CopyFrom(self.batch)
        report.units = self.units
        report.tier = self.tier
        report.trace_id = self.trace_id
        report.caller = self.caller
        if self.attempts > 1:
            report.won = self.won
        if self.chunks:
            report.chunks = self.chunks
            report.first_us = max(0, int(self.first_s * 1e6) - received_us)
            report.missed = report.first_us > objective_us
        return report
