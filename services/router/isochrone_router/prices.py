"""What an answer has cost: its share of the time that a device computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from isochrone.batching import ClosedBy
from isochrone.config import DeviceConfig
from isochrone.ledger import Ledger
from isochrone.v1 import budget_pb2


class Price(NamedTuple):
    """Of one answer, or a part of it."""

    cost: float
    """In what `cost_per_hour` is given in."""
    joules: float
    """0 where the device's watts aren't known."""


class Prices:
    """By device class."""

    def __init__(self, price_of: Callable[[str], DeviceConfig]) -> None:
        self._price_of = price_of
        self._known: dict[str, tuple[float, float]] = {}
        self._batch: budget_pb2.BatchInfo | None = None
        """The last that was asked for, and what a unit of it has cost."""
        self._a_unit = self._price = Price(0.0, 0.0)
        self._units = 0
        """Of the last answer of it, and what that has cost."""

    def __repr__(self) -> str:
        return f"<Prices of {', '.join(self._known) or 'nothing yet'}>"

    def of(self, device: str) -> tuple[float, float]:
        """Of a second of a device: what it costs, and the joules it takes (0 where that isn't known)."""
        known = self._known.get(device)
        if known is None:
            price = self._price_of(device)
            known = self._known[device] = (price.cost_per_hour / 3600, price.watts or 0.0)
        return known

    def add_to(self, report: budget_pb2.BudgetReport, ledger: Ledger) -> Price | None:
        """Says in the report of a ledger what its answer has cost. None where it never ran."""
        batch = ledger.batch
        if batch is None or not batch.jobs:
            return None
        if batch is not self._batch:  # the jobs of a batch are answered one after the other
            self._batch, self._units, self._a_unit = batch, -1, self._of_unit(batch, ledger)
        if ledger.units != self._units:
            self._units, a_unit = ledger.units, self._a_unit
            self._price = Price(a_unit.cost * self._units, a_unit.joules * self._units)
        price = self._price
        decision = report.decision
        decision.cost = price.cost
        if price.joules:
            decision.joules = price.joules
        if ledger.attempts > 1:  # perhaps elsewhere than was planned
            decision.device = ledger.lane.rpartition("@")[2]
        return price

    def _of_unit(self, batch: budget_pb2.BatchInfo, ledger: Ledger) -> Price:
        per_s, watts = self.of(ledger.lane.rpartition("@")[2])
        seconds = max(0.0, ledger.computed_s - ledger.started_s) / max(1, batch.units)
        if batch.closed_by == ClosedBy.STREAM:  # its units are its own; others ran beside it
            seconds /= batch.jobs
        return Price(per_s * seconds, watts * seconds)
