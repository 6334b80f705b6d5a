"""What was decided about a request, in words: where it was sent and why, what was expected of that, or why not."""

from __future__ import annotations

from math import floor, isfinite, log10

from isochrone.v1.budget_pb2 import BudgetReport

LATE = "late"
_WHY = {
    "cheapest": "the cheapest in time",
    "fastest": "the fastest: none was sure to be in time",
    "smaller": "a smaller variant: no other would be in time",
    LATE: "late: planned past its objective",
    "addressed": "by its link, past the lane",
}
"""isochrone_router.planner.Why in words."""
_TIMES = {2: "twice"}
_WHICH = {1: "first", 2: "second", 3: "third"}


def planned(report: BudgetReport) -> str:
    """ "ranker.fp32@cpu, the cheapest in time · expected 3.10 ms, 99.9 % within 6.00 ms"; empty where nobody planned
    it. Without the lane where it was sent more than once: then the last may have been another."""
    decision = report.decision
    if not decision.why or not report.attempts:
        return ""
    why = _WHY.get(decision.why, decision.why)
    said = f"{report.lane}, {why}" if report.lane and report.attempts == 1 else why
    if not decision.expected_us:
        return said
    said += f" · expected {_ms(decision.expected_us)}"
    if decision.target and decision.quantile_us:
        said += f", {decision.target * 100:g} % within {_ms(decision.quantile_us)}"
    if decision.held_us:
        said += f" · waited {_ms(decision.held_us)} for company"
    return said


def refused(report: BudgetReport) -> str:
    """ "refused, OVERLOAD: expected 23.0 ms · come back in 8.00 ms"; empty where it wasn't."""
    decision = report.decision
    if not decision.why or report.attempts:
        return ""
    said = f"refused, {decision.why}"
    if decision.expected_us:
        said += f": expected {_ms(decision.expected_us)}"
    if decision.retry_after_us:
        said += f" · come back in {_ms(decision.retry_after_us)}"
    return said


def sent(report: BudgetReport) -> str:
    """ "sent twice, the second answered"; empty where it was sent once."""
    if report.attempts <= 1:
        return ""
    said = f"sent {_TIMES.get(report.attempts, f'{report.attempts} times')}"
    return said + (f", the {_WHICH.get(report.won, f'{report.won}th')} answered" if report.won else "")


def cost(report: BudgetReport) -> str:
    """ "cost 0.42 per 1,000 such answers"; empty where it cost nothing, or nobody knows what."""
    decision = report.decision
    said = f"cost {plain(decision.cost * 1000)} per 1,000 such answers" if decision.cost else ""
    if decision.joules:
        said += f"{', ' if said else ''}{plain(decision.joules * 1000)} J"
    return said


def plain(value: float) -> str:
    """With three digits that say something and no exponent: "0.42", "0.0000171", "294"."""
    if not value or not isfinite(value):
        return "0"
    digits = max(0, 2 - floor(log10(abs(value))))
    said = f"{value:,.{digits}f}"
    return said.rstrip("0").rstrip(".") if digits else said


def _ms(us: int) -> str:
    return f"{us / 1e3:.2f} ms" if us < 10_000 else f"{us / 1e3:.1f} ms"
