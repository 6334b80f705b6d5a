"""What an answer has cost: its share of the time that a device computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from isochrone.batching import ClosedBy
from isochrone.config import DeviceConfig
from isochrone.v1 import budget_pb2

_COMPUTE = budget_pb2.STAGE_COMPUTE - budget_pb2.STAGE_ADMIT


class Price(NamedTuple):
    """Of one answer."""

    cost: float
    """In what `cost_per_hour` is given in."""
    joules: float
    """0 where the device's watts aren't known."""


class Prices:
    """By device class."""

    def __init__(self, price_of: Callable[[str], DeviceConfig]) -> None:
        self._price_of = price_of
        self._known: dict[str, tuple[float, float]] = {}

    def __repr__(self) -> str:
        return f"<Prices of {', '.join(self._known) or 'nothing yet'}>"

    def of(self, device: str) -> tuple[float, float]:
        """Of a second of a device: what it costs, and the joules it takes (0 where that isn't known)."""
        known = self._known.get(device)
        if known is None:
            price = self._price_of(device)
            known = self._known[device] = (price.cost_per_hour / 3600, price.watts or 0.0)
        return known

    def add_to(self, report: budget_pb2.BudgetReport) -> Price | None:
        """Says in a report what its answer has cost. None where it never ran."""
        batch = report.batch
        jobs = batch.jobs
        if not jobs:
            return None
        share = 1 / jobs if batch.closed_by == ClosedBy.STREAM else report.units / max(1, batch.units)
        seconds = share * report.stage_us[_COMPUTE] / 1e6
        decision = report.decision
        device = decision.device = report.lane.rpartition("@")[2]
        per_s, watts = self.of(device)
        price = Price(per_s * seconds, watts * seconds)
        decision.cost = price.cost
        if watts:
            decision.joules = price.joules
        return price
