"""Which stage made a request late: the one that went furthest beyond what it usually takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from isochrone.v1 import budget_pb2

STEP = 0.05
"""Of its own size, by which an expectation moves towards each answer."""
ALL_OF, ONE_IN = 128, 8
"""Answers that are all learnt from, and how many of the later ones: it is done for every request."""
LEAST_US = 20.0
"""Expectations don't fall below this, so that their steps don't come to nothing."""
_UP, _DOWN = 1 + STEP, 1 - STEP
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
        self._answers = 0

    def __repr__(self) -> str:
        return f"<Expectation {', '.join(f'{usual:.0f}' for usual in self._usual_us) or 'of nothing yet'} µs>"

    def learn(self, report: budget_pb2.BudgetReport) -> None:
        """From an answer that met its objective; once there were enough of them, from one in some."""
        self._answers += 1
        if self._answers > ALL_OF and self._answers % ONE_IN:
            return
        spent = stages_to_objective(report)
        if not self._usual_us:
            self._usual_us = [float(max(LEAST_US, us)) for us in spent]
            return
        self._usual_us = [
            max(LEAST_US, usual * _UP if us > usual else usual * _DOWN)
            for us, usual in zip(spent, self._usual_us, strict=True)
        ]

    @property
    def way_back_s(self) -> float:
        """What it usually takes from the end of its batch to the answer."""
        return sum(self._usual_us[_COMPUTE + 1 :]) / 1e6

    def blame(self, report: budget_pb2.BudgetReport) -> budget_pb2.Stage:
        """The stage that overran most."""
        spent = stages_to_objective(report)
        usual = self._usual_us or [0.0] * len(spent)
        overran = [us - expected for us, expected in zip(spent, usual, strict=True)]
        worst = overran.index(max(overran)) + budget_pb2.STAGE_ADMIT
        return cast("budget_pb2.Stage", worst)  # a plain number, but for the types
