"""How long a batch takes: t(units) = base + per_unit · units, learnt at warm-up and kept current."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """A prediction rule. Seconds; `spread_s` is the mean absolute error lately."""

    base_s: float
    per_unit_s: float
    spread_s: float = 0.0

    def of(self, units: int) -> float:
        """Expected seconds of a batch of that many units."""
        return self.base_s + self.per_unit_s * units

    def at_best(self, units: int) -> float:
        """What a lucky batch takes: below this, hope is over."""
        return max(self.of(units) - 2 * self.spread_s, 0.5 * self.of(units))

    def units_within(self, seconds: float) -> int:
        """The largest batch expected to be done in that time."""
        if self.per_unit_s <= 0:
            return 2**31 if seconds >= self.base_s else 0
        return max(0, int(min((seconds - self.base_s) / self.per_unit_s, 2**31)))


class LatencyModel:
    """Least squares over batches, where each new batch makes the older ones count a little less.

    An outlier counts as no more than `_CLIP` spreads, so one hiccup doesn't move the line; a lasting change
    moves it within some dozens of batches, since every batch of the new kind pulls the same way and the spread
    widens meanwhile.
    """

    _KEEP = 0.97
    _CLIP = 4.0

    def __init__(self, initial: Latency) -> None:
        self.current = initial
        self._weight = self._x = self._y = self._xx = self._xy = 0.0

    def __repr__(self) -> str:
        now = self.current
        return (
            f"<LatencyModel {now.base_s * 1e6:.0f} µs + {now.per_unit_s * 1e6:.2f} µs a unit,"
            f" ± {now.spread_s * 1e6:.0f} µs>"
        )

    @classmethod
    def fitted(cls, samples: list[tuple[int, float]]) -> LatencyModel:
        """From warm-up batches of several sizes, as (units, seconds)."""
        model = cls(Latency(*_line([(float(units), seconds) for units, seconds in samples])))
        errors = [abs(seconds - model.current.of(units)) for units, seconds in samples]
        spread_s = sum(errors) / len(errors) if errors else 0.0
        model.current = Latency(model.current.base_s, model.current.per_unit_s, spread_s)
        for units, seconds in samples:
            model._add(units, seconds)
        return model

    def observe(self, units: int, seconds: float) -> None:
        """Takes in a batch that ran."""
        now = self.current
        error = seconds - now.of(units)
        # An untried model has no spread yet: half its prediction stands in.
        reach = self._CLIP * max(now.spread_s, 0.05 * now.of(units), 1e-6)
        clipped = max(-reach, min(reach, error))
        self._add(units, now.of(units) + clipped)
        mean_x, mean_y = self._x / self._weight, self._y / self._weight
        variance = self._xx / self._weight - mean_x * mean_x
        slope = now.per_unit_s
        if variance > (0.05 * mean_x) ** 2:  # batches of one size only say nothing of the slope
            slope = (self._xy / self._weight - mean_x * mean_y) / variance
        slope = min(max(slope, 0.0), mean_y / mean_x)  # neither part of the time is negative
        spread_s = now.spread_s + (1 - self._KEEP) * (abs(clipped) - now.spread_s)
        self.current = Latency(max(0.0, mean_y - slope * mean_x), slope, spread_s)

    def _add(self, units: int, seconds: float) -> None:
        keep = self._KEEP
        self._weight = keep * self._weight + 1
        self._x = keep * self._x + units
        self._y = keep * self._y + seconds
        self._xx = keep * self._xx + units * units
        self._xy = keep * self._xy + units * seconds


def _line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope by least squares, neither of them negative."""
    if not points:
        return 0.0, 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    variance = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / variance if variance else 0.0
    slope = min(max(slope, 0.0), mean_y / mean_x if mean_x else 0.0)
    return max(0.0, mean_y - slope * mean_x), slope
