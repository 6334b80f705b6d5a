"""How long a batch takes: t(units) = base + per_unit · units, learnt at warm-up and kept current."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from math import log
from typing import NamedTuple


@lru_cache
def tail(quantile: float) -> float:
    """How many spreads beyond the expectation a quantile lies.

    Errors are taken to be of Laplace's distribution, whose scale is the mean absolute error: what happens to a
    process on a shared machine has longer tails than the normal one.
    """
    return log(1 / (2 * (1 - quantile))) if quantile > 0.5 else 0.0


class Latency(NamedTuple):
    """A prediction rule, in seconds."""

    base_s: float
    per_unit_s: float
    spread: float = 0.0
    """The mean absolute error lately, as a fraction of what was predicted."""

    def of(self, units: float) -> float:
        """Expected seconds of a batch of that many units."""
        return self.base_s + self.per_unit_s * units

    def at(self, units: float, quantile: float) -> float:
        """Seconds within which that fraction of such batches are done; of no quantile less than the expectation."""
        return self.of(units) * (1 + self.spread * tail(quantile))

    def cautious(self, quantile: float) -> Latency:
        """The rule by which that fraction of batches are done in time."""
        longer = 1 + self.spread * tail(quantile)
        return Latency(self.base_s * longer, self.per_unit_s * longer, self.spread)

    def at_best(self, units: float) -> float:
        """What a lucky batch takes: below this, hope is over."""
        return self.of(units) * self.luck

    @property
    def luck(self) -> float:
        """What fraction of the expectation a lucky batch takes."""
        return max(1 - 2 * self.spread, 0.5)

    def units_within(self, seconds: float) -> int:
        """The largest batch expected to be done in that time."""
        if self.per_unit_s <= 0:
            return 2**31 if seconds >= self.base_s else 0
        return max(0, int(min((seconds - self.base_s) / self.per_unit_s, 2**31)))


class LatencyModel:
    """Least squares over batches, where each new batch makes the older ones count a little less. What is small is
    the relative error: small batches are foretold as well as large ones.

    An outlier counts as no more than `_CLIP` spreads, so one hiccup doesn't move the line. A device whose pace
    changes, as that of a throttled CPU does, takes so many times as long for batches of all sizes: once most of the
    last `_LATELY` batches say so, the whole line is stretched by as much, and goes on from there.
    """

    _KEEP = 0.97
    _CLIP = 4.0
    _LATELY = 5
    _LEAST_CHANGE = 0.3
    """Of pace, by which the line is stretched at once; smaller ones it follows by itself."""
    _LEAST_CHANGE_S = 50e-6

    def __init__(self, initial: Latency) -> None:
        self.current = initial
        self.changes = 0
        """How often its pace has changed."""
        self._weight = self._x = self._y = self._xx = self._xy = 0.0
        self._ratios: deque[float] = deque(maxlen=self._LATELY)

    def __repr__(self) -> str:
        now = self.current
        line = f"{now.base_s * 1e6:.0f} µs + {now.per_unit_s * 1e6:.2f} µs a unit"
        return f"<LatencyModel {line}, ± {now.spread * 100:.0f} %>"

    @classmethod
    def fitted(cls, samples: list[tuple[int, float]]) -> LatencyModel:
        """From warm-up batches of several sizes, as (units, seconds)."""
        model = cls(Latency(*_line([(float(units), seconds) for units, seconds in samples])))
        now = model.current
        errors = [abs(seconds - now.of(units)) / now.of(units) for units, seconds in samples if now.of(units) > 0]
        model.current = Latency(now.base_s, now.per_unit_s, sum(errors) / len(errors) if errors else 0.0)
        for units, seconds in samples:
            model._add(units, seconds, now.of(units))
        return model

    def observe(self, units: int, seconds: float) -> bool:
        """Takes in a batch that ran. True where the pace has changed with it."""
        now = self.current
        expected_s = max(now.of(units), 1e-9)
        self._ratios.append(seconds / expected_s)
        if len(self._ratios) == self._LATELY:
            pace = sorted(self._ratios)[self._LATELY // 2]
            if self._has_changed(pace, expected_s):
                self._stretch(pace)
                return True
        # An untried model has no spread yet: a twentieth of its prediction stands in.
        reach = self._CLIP * max(now.spread, 0.05)
        error = max(-reach, min(reach, seconds / expected_s - 1))
        self._add(units, expected_s * (1 + error), expected_s)
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        variance = self._xx / self._weight - mean_x * mean_x
        slope = now.per_unit_s
        if variance > (0.05 * mean_x) ** 2:  # batches of one size only say nothing of the slope
            slope = (self._xy / self._weight - mean_x * mean_y) / variance
        slope = min(max(slope, 0.0), mean_y / mean_x)  # neither part of the time is negative
        spread = now.spread + (1 - self._KEEP) * (abs(error) - now.spread)
        self.current = Latency(max(0.0, mean_y - slope * mean_x), slope, spread)
        return False

    def _has_changed(self, pace: float, expected_s: float) -> bool:
        """Whether that is further off than the last batches usually are together, and enough to matter."""
        if abs(pace - 1) * expected_s < self._LEAST_CHANGE_S:
            return False
        least = max(self._LEAST_CHANGE, 2 * min(self.current.spread, 0.5))
        return pace > 1 + least or pace < 1 / (1 + least)

    def _stretch(self, pace: float) -> None:
        now = self.current
        self.current = Latency(now.base_s * pace, now.per_unit_s * pace, now.spread)
        self._y *= pace
        self._xy *= pace
        self._ratios.clear()
        self.changes += 1

    def _add(self, units: int, seconds: float, expected_s: float) -> None:
        keep, weight = self._KEEP, _weight(expected_s)
        self._weight = keep * self._weight + weight
        self._x = keep * self._x + weight * units
        self._y = keep * self._y + weight * seconds
        self._xx = keep * self._xx + weight * units * units
        self._xy = keep * self._xy + weight * units * seconds


def _weight(seconds: float) -> float:
    """Of a batch of about that length: errors count in proportion to it."""
    return 1 / max(seconds, 1e-6) ** 2


def _line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope by weighted least squares, neither of them negative."""
    if not points:
        return 0.0, 0.0
    weights = [_weight(y) for _, y in points]
    whole = sum(weights)
    mean_x = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / whole
    mean_y = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / whole
    variance = sum(w * (x - mean_x) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    covariance = sum(w * (x - mean_x) * (y - mean_y) for w, (x, y) in zip(weights, points, strict=True))
    slope = covariance / variance if variance else 0.0
    slope = min(max(slope, 0.0), mean_y / mean_x if mean_x else 0.0)
    return max(0.0, mean_y - slope * mean_x), slope
