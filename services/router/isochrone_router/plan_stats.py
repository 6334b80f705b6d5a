"""What came of the plans of a route that sent requests to one lane for one reason: numbers, added to by RouteStats."""

from __future__ import annotations

from collections.abc import Iterable

from isochrone.telemetry import RATIO_BUCKETS, Histogram
from isochrone_router.prices import Price


class PlanStats:
    """Of requests that are over."""

    __slots__ = ("actual_s", "answers", "cost", "expected_s", "joules", "ratios", "requests", "within")

    def __init__(self) -> None:
        self.requests = 0
        """That were sent there."""
        self.answers = 0
        """Answered OK, sent once: those whose time says what the forecast was worth. The next four are of these."""
        self.expected_s = self.actual_s = 0.0
        """Together."""
        self.within = 0
        """Answered within what was expected at the quantile of the SLA's target."""
        self.ratios = Histogram(RATIO_BUCKETS)
        """The time they took, as a multiple of what was expected."""
        self.cost = self.joules = 0.0
        """Of all of them, where they ran."""

    def __repr__(self) -> str:
        return f"<PlanStats of {self.requests} requests, {self.within} of {self.answers} answers as foretold>"

    def add_price(self, price: Price) -> None:
        self.cost += price.cost
        self.joules += price.joules

    def plus(self, other: PlanStats) -> PlanStats:
        both = PlanStats()
        both.requests, both.answers = self.requests + other.requests, self.answers + other.answers
        both.expected_s, both.actual_s = self.expected_s + other.expected_s, self.actual_s + other.actual_s
        both.within = self.within + other.within
        both.ratios = self.ratios.plus(other.ratios)
        both.cost, both.joules = self.cost + other.cost, self.joules + other.joules
        return both


def by_lane(plans: Iterable[tuple[tuple[str, str], PlanStats]]) -> dict[str, PlanStats]:
    """Of each lane, whatever it was chosen for."""
    found: dict[str, PlanStats] = {}
    for (lane, _), plan in plans:
        found[lane] = found[lane].plus(plan) if lane in found else plan
    return found
