"""Has contenders run, under one load or several, and looks for the highest rate that each can bear."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from isochrone.simulator.contender import Contender
from isochrone.simulator.outcome import Figure, Outcome, figure, outcome
from isochrone.simulator.scenario import Scenario, SearchConfig
from isochrone.simulator.world import simulate

LEAST, MOST = 0.01, 2.0
"""Multiples of capacity between which the highest rate is looked for."""

Say = Callable[[str], None]
"""Told what runs now."""


@dataclass(frozen=True, slots=True)
class Row:
    """A contender under one load, at the best of its settings."""

    contender: Contender
    """That setting."""
    tried: int
    """Settings of the grid."""
    of_capacity: float | None
    """The load of a sweep; None: the scenario's own."""
    outcomes: tuple[Outcome, ...]
    """Of each run."""

    def figure(self, name: str) -> Figure:
        return figure(self.outcomes, name)

    def as_json(self) -> dict[str, Any]:
        return {
            "batching": self.contender.batching,
            "placement": self.contender.placement,
            "title": self.contender.title,
            "setting": self.contender.setting,
            "settings_tried": self.tried,
            "of_capacity": self.of_capacity,
            "runs": [each.as_json() for each in self.outcomes],
        }


@dataclass(frozen=True, slots=True)
class Highest:
    """The highest rate at which a contender still had so many answers in time, at the best of its settings."""

    contender: Contender
    tried: int
    within: float
    rates_per_s: Figure
    """Over the runs; 0 where no rate that was tried would do."""

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.contender.title,
            "setting": self.contender.setting,
            "settings_tried": self.tried,
            "within": self.within,
            "rate_per_s": asdict(self.rates_per_s),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was found."""

    scenario: Scenario
    runs: int
    rows: tuple[Row, ...]
    highest: tuple[Highest, ...] = ()

    def as_json(self) -> dict[str, Any]:
        scenario = self.scenario
        return {
            "scenario": scenario.scenario,
            "about": scenario.about,
            "seed": scenario.seed,
            "runs": self.runs,
            "duration_s": scenario.duration_s,
            "capacity_per_s": scenario.capacity_per_s,
            "rows": [row.as_json() for row in self.rows],
            "highest": [each.as_json() for each in self.highest],
        }


def compare(scenario: Scenario, *, runs: int, say: Say) -> Comparison:
    """Every contender under every load. The best of a grid is chosen by the first run; all runs show it.

    Raises ConfigError for recorded arrivals that can't be read.
    """
    loads: Sequence[float | None] = scenario.sweep.of_capacity if scenario.sweep else (None,)
    rows = [_row(scenario, contender, load, runs, say) for load in loads for contender in scenario.compare]
    highest = []
    if scenario.search is not None:
        highest = [_highest(scenario, scenario.search, contender, runs, say) for contender in scenario.compare]
    return Comparison(scenario, runs, tuple(rows), tuple(highest))


def _row(scenario: Scenario, contender: Contender, load: float | None, runs: int, say: Say) -> Row:
    loaded = scenario if load is None else scenario.at_rate(load * scenario.capacity_per_s)
    settings = contender.settings
    at = "" if load is None else f" at {load:g} of capacity"
    best, first = settings[0], None
    for setting in settings:
        say(f"{setting.title}{at}{f': {setting.setting}' if setting.setting else ''}")
        found = outcome(loaded, simulate(loaded, setting))
        if first is None or _is_better(scenario, found, first):
            best, first = setting, found
    assert first is not None
    others = []
    for run in range(1, runs):
        say(f"{best.title}{at}, run {run + 1} of {runs}")
        seeded = loaded.with_seed(scenario.seed + run)
        others.append(outcome(seeded, simulate(seeded, best)))
    return Row(best, len(settings), load, (first, *others))


def _is_better(scenario: Scenario, one: Outcome, other: Outcome) -> bool:
    if scenario.best_by == "cost":
        # Whoever answers little in time may do so cheaply: those that keep what is promised come first.
        if _keeps(one) != _keeps(other):
            return _keeps(one)
        return not one.cost_per_1000 >= other.cost_per_1000
    return one.in_time > other.in_time


def _keeps(found: Outcome) -> bool:
    """Whether every route met its target."""
    return all(route.in_time >= route.target for route in found.routes)


def _highest(scenario: Scenario, search: SearchConfig, contender: Contender, runs: int, say: Say) -> Highest:
    settings = contender.settings
    best, highest = settings[0], 0.0
    for setting in settings:
        say(f"{setting.title}: highest rate{f', {setting.setting}' if setting.setting else ''}")
        # A setting that can't beat the best so far is left after one run.
        found = highest_of_capacity(scenario, search, setting, at_least=highest * (1 + search.precision))
        if found > highest:
            best, highest = setting, found
    rates = [highest]
    for run in range(1, runs):
        say(f"{best.title}: highest rate, run {run + 1} of {runs}")
        rates.append(highest_of_capacity(scenario.with_seed(scenario.seed + run), search, best))
    capacity = scenario.capacity_per_s
    return Highest(best, len(settings), search.within, Figure.of(rate * capacity for rate in rates))


def highest_of_capacity(
    scenario: Scenario, search: SearchConfig, setting: Contender, *, at_least: float = 0.0
) -> float:
    """By bisection, as a multiple of capacity; 0 where it is less than `at_least`, or than can be told."""

    def will_do(of_capacity: float) -> bool:
        loaded = scenario.at_rate(of_capacity * scenario.capacity_per_s)
        return outcome(loaded, simulate(loaded, setting)).in_time >= search.within

    low = max(at_least, LEAST)
    if not will_do(low):
        return 0.0
    high = min(2 * low, MOST)
    while high < MOST and will_do(high):
        low, high = high, min(2 * high, MOST)
    while high - low > search.precision * low:
        middle = (low + high) / 2
        if will_do(middle):
            low = middle
        else:
            high = middle
    return low
