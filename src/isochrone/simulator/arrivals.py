"""When requests come, of which routes, and how heavy they are: the same for the same seed, whoever answers them."""

from __future__ import annotations

import csv
import json
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise
from math import log, sqrt
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from isochrone.errors import ConfigError
from isochrone.keys import Tier
from isochrone.simulator.scenario import ArrivalsConfig, Scenario, UnitsConfig


class Arrival(NamedTuple):
    """One request. `route` counts the scenario's routes."""

    at_s: float
    route: int
    units: int
    tier: Tier


def arrivals(scenario: Scenario) -> Iterator[Arrival]:
    """All requests of a scenario, in the order in which they come. Raises ConfigError for a file that can't be read."""
    if scenario.arrivals.kind == "recorded":
        return _recorded(scenario)
    return _drawn(scenario)


def moments(config: ArrivalsConfig, rate_per_s: float, random: Random) -> Iterator[float]:
    """Moments of a renewal process whose rate follows the curve: gaps are drawn in expected requests, not seconds."""
    draw = _gaps(config, random)
    if not config.curve:
        at_s = 0.0
        while True:
            at_s += draw() / rate_per_s
            yield at_s
    rate = RateCurve(config.curve, rate_per_s)
    expected = 0.0
    while True:
        expected += draw()
        yield rate.moment(expected)


def _gaps(config: ArrivalsConfig, random: Random) -> Callable[[], float]:
    """Draws gaps of mean 1."""
    if config.kind == "poisson" or config.cv == 1:
        return lambda: random.expovariate(1.0)
    shape = 1 / config.cv**2
    return lambda: random.gammavariate(shape, 1 / shape)


class RateCurve:
    """A rate that rises and falls along straight lines, again and again."""

    def __init__(self, points: Sequence[tuple[float, float]], rate_per_s: float) -> None:
        self._points = [(0.0, points[0][1]), *points] if points[0][0] > 0 else list(points)
        self._rate = rate_per_s
        pieces = [(later - earlier) * (a + b) / 2 * rate_per_s for (earlier, a), (later, b) in pairwise(self._points)]
        self._until = [0.0, *accumulate(pieces)]
        if self._until[-1] <= 0:  # one point, or nothing between the points: a constant rate
            factor = max(factor for _, factor in self._points)
            self._points = [(0.0, factor), (1.0, factor)]
            self._until = [0.0, factor * rate_per_s]

    def moment(self, expected: float) -> float:
        """When that many requests are expected to have come."""
        rounds, left = divmod(expected, self._until[-1])
        piece = min(bisect_right(self._until, left), len(self._until) - 1) - 1
        (from_s, a), (to_s, b) = self._points[piece], self._points[piece + 1]
        left = (left - self._until[piece]) / self._rate
        slope = (b - a) / (to_s - from_s)
        # a·t + slope·t²/2 = left, in the form that stands a slope of nothing.
        root = sqrt(max(0.0, a * a + 2 * slope * left))
        within_s = 2 * left / (a + root) if a + root > 0 else 0.0
        return rounds * self._points[-1][0] + from_s + within_s


def _drawn(scenario: Scenario) -> Iterator[Arrival]:
    random = Random(f"{scenario.seed}/arrivals")
    routes = list(scenario.routes.values())
    shares = list(accumulate(route.share for route in routes))
    weigh = [_units(route.units, Random(f"{scenario.seed}/units/{index}")) for index, route in enumerate(routes)]
    tiers = [route.tier for route in routes]
    pick = Random(f"{scenario.seed}/routes").random
    whole = shares[-1]
    for at_s in moments(scenario.arrivals, scenario.rate_per_s, random):
        if at_s >= scenario.duration_s:
            return
        route = bisect_right(shares, pick() * whole) if whole > shares[0] else 0
        yield Arrival(at_s, route, weigh[route](), tiers[route])


def _units(config: UnitsConfig, random: Random) -> Callable[[], int]:
    if not config.cv:
        fixed = min(config.most, max(1, round(config.mean)))
        return lambda: fixed
    spread = sqrt(log(1 + config.cv**2))
    middle = log(config.mean) - spread**2 / 2
    return lambda: min(config.most, max(1, round(random.lognormvariate(middle, spread))))


def _recorded(scenario: Scenario) -> Iterator[Arrival]:
    path = scenario.arrivals.file
    assert path is not None
    names = {name: index for index, name in enumerate(scenario.routes)}
    routes = list(scenario.routes.values())
    first_s: float | None = None
    before_s = 0.0
    for line, row in _rows(path):
        try:
            at_s = float(row["at_s"])
            name = row.get("route") or next(iter(names))
            route = names[name]
            units = int(row.get("units") or round(routes[route].units.mean))
            tier = Tier(row.get("tier") or routes[route].tier)
        except KeyError as error:
            has = ", ".join(names)
            told = "at_s is required" if error.args == ("at_s",) else f"no route {error.args[0]!r}; there is {has}"
            raise ConfigError(f"{path}:{line}: {told}") from error
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path}:{line}: {error}") from error
        first_s = at_s if first_s is None else first_s
        moment_s = (at_s - first_s) / scenario.arrivals.speed
        if not moment_s >= before_s:
            raise ConfigError(f"{path}:{line}: at_s {at_s:g} comes after a later one: sort the file")
        before_s = moment_s
        if moment_s >= scenario.duration_s:
            return
        yield Arrival(moment_s, route, max(1, units), tier)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Lines with their numbers, of CSV with a header, or of JSON where the first line is a JSON object."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            first = file.readline()
            file.seek(0)
            if first.lstrip().startswith("{"):
                for number, text in enumerate(file, 1):
                    if text.strip():
                        try:
                            yield number, dict(json.loads(text))
                        except (ValueError, TypeError) as error:
                            raise ConfigError(f"{path}:{number}: not a JSON object: {error}") from error
                return
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
