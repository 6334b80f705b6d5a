"""Which stage made a request late: the one that went furthest beyond what it usually takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from isochrone.v1 import budget_pb2

STEP = 0.05
"""Of its own size, by which an expectation moves towards each answer."""
LEAST_US = 20.0
"""Expectations don't fall below this, so that their steps don't come to nothing."""
_COMPUTE = budget_pb2.STAGE_COMPUTE - budget_pb2.STAGE_ADMIT


def stages_to_objective(report: budget_pb2.BudgetReport) -> Sequence[int]:
    """Microseconds spent in each stage, as far as the objective goes: of an answer that streams, to its first chunk."""
    if not report.first_us:
        return report.stage_us
    before = sum(report.stage_us[:_COMPUTE])
    return [*report.stage_us[:_COMPUTE], max(0, report.first_us - before), 0, 0]


class Expectation:
    """What each stage of a route usually takes: its median among the answers that met their objective.

    Each median is followed by steps that are as likely to go up as down once it is there. Answers that came late
    teach nothing, else what is always late would soon be nobody's fault.
    """

    def __init__(self) -> None:
        self._usual_us: list[float] = []

    def __repr__(self) -> str:
        return f"<Expectation {', '.join(f'{usual:.0f}' for usual in self._usual_us) or 'of nothing yet'} µs>"

    def learn(self, report: budget_pb2.BudgetReport) -> None:
        """From an answer that met its objective."""
        spent = stages_to_objective(report)
        if not self._usual_us:
            self._usual_us = [float(max(LEAST_US, us)) for us in spent]
            return
        usual = self._usual_us
        for stage, us in enumerate(spent):
            usual[stage] *= 1 + STEP if us > usual[stage] else 1 - STEP
            if usual[stage] < LEAST_US:
                usual[stage] = LEAST_US

    def blame(self, report: budget_pb2.BudgetReport) -> budget_pb2.Stage:
        """The stage that overran most."""
        spent = stages_to_objective(report)
        usual = self._usual_us or [0.0] * len(spent)
        overran = [us - expected for us, expected in zip(spent, usual, strict=True)]
        worst = overran.index(max(overran)) + budget_pb2.STAGE_ADMIT
        return cast("budget_pb2.Stage", worst)  # a plain number, but for the types
