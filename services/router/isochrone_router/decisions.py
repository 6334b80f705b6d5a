"""What reports say of a route's plans and refusals: as bytes, with which they begin."""

from __future__ import annotations

from isochrone.errors import IsochroneError, Overloaded
from isochrone.v1.budget_pb2 import BudgetReport, Decision
from isochrone_router.planner import Plan, Refused


class Decisions:
    """Of one route."""

    def __init__(self, target: float) -> None:
        """`target`: the fraction of answers that should meet the objective."""
        self._target = target
        self._plan: Plan | Refused | None = None
        self._opening = b""

    def of(self, plan: Plan | Refused) -> bytes:
        """The same, as long as the plan is; or of a request that the planner found no place for."""
        if plan is not self._plan:
            decision = _refusal(plan) if isinstance(plan, Refused) else self._decision(plan)
            self._plan, self._opening = plan, _opening(decision)
        return self._opening

    def of_held(self, plan: Plan, *, held_s: float) -> bytes:
        """Of a request that waited for company first. What was expected counts from its arrival."""
        decision = self._decision(plan)
        decision.held_us = _us(held_s)
        return _opening(decision)

    def _decision(self, plan: Plan) -> Decision:
        return Decision(
            why=plan.why,
            expected_us=_us(plan.finish.expected_s),
            quantile_us=_us(plan.quantile_s),
            device=plan.lane.rpartition("@")[2],
            target=self._target,
        )


def of_error(error: IsochroneError) -> bytes:
    """Of a request that was not planned at all."""
    retry_after_s = error.retry_after_s if isinstance(error, Overloaded) else 0.0
    return _opening(Decision(why=error.reason, retry_after_us=_us(retry_after_s)))


def _refusal(refused: Refused) -> Decision:
    expected_us, retry_after_us = _us(refused.finish_s), _us(refused.retry_after_s)
    return Decision(why=refused.reason, expected_us=expected_us, retry_after_us=retry_after_us)


def _opening(decision: Decision) -> bytes:
    return BudgetReport(decision=decision).SerializeToString()


def _us(seconds: float) -> int:
    return min(max(0, int(seconds * 1e6)), 2**32 - 1)
