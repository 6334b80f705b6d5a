"""When requests come in an open loop: at a steady rate, evenly or in bursts, or over a day that rises and falls."""

from __future__ import annotations

import numpy as np

LOW = 0.1
"""What a day's night has of its peak."""


def poisson_arrivals_s(rate: float, *, begin_s: float, end_s: float, seed: int) -> list[float]:
    """Moments between two others, by a Poisson process of `rate` a second; the same for the same seed."""
    return burst_arrivals_s(rate, cv=1.0, begin_s=begin_s, end_s=end_s, seed=seed)


def burst_arrivals_s(rate: float, *, cv: float, begin_s: float, end_s: float, seed: int) -> list[float]:
    """As that, with gaps that are Gamma-distributed and have this coefficient of variation: 1 is a Poisson process, 4
    comes in bursts. The same gaps for the same seed, stretched by the rate."""
    moments_s = begin_s + np.cumsum(_gaps(rate * (end_s - begin_s), cv, seed)) / rate
    return [float(moment_s) for moment_s in moments_s[moments_s < end_s]]


def day_arrivals_s(peak: float, *, begin_s: float, end_s: float, seed: int) -> list[float]:
    """Moments of a Poisson process whose rate rises from LOW of its peak to the peak and falls again, as sine² does."""
    length_s = end_s - begin_s
    times_s = np.linspace(0, length_s, 2001)
    rates = peak * (LOW + (1 - LOW) * np.sin(np.pi * times_s / length_s) ** 2)
    expected = np.concatenate(([0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(times_s))))
    come = np.cumsum(_gaps(float(expected[-1]), 1.0, seed))
    return [float(begin_s + at_s) for at_s in np.interp(come[come < expected[-1]], expected, times_s)]


def mean_of_day(peak: float) -> float:
    """The rate over the whole of it."""
    return peak * (LOW + (1 - LOW) / 2)


def _gaps(expected: float, cv: float, seed: int) -> np.ndarray:
    """Of mean 1, some more than it takes to come to that sum."""
    count = int(expected + 10 * (1 + cv) * expected**0.5 + 10 * (1 + cv) ** 2)
    shape = 1 / cv**2
    return np.random.default_rng(seed).gamma(shape, 1 / shape, count)
