"""Histograms and route statistics: plain numbers, read by whoever exports them."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone import telemetry
from isochrone.telemetry import DURATION_BUCKETS_S, WINDOW_S, Histogram, Instrument, RouteStats
from isochrone.v1 import budget_pb2

values = st.lists(st.floats(0, 20), min_size=1, max_size=200)


@given(values, st.floats(0.01, 1.0))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(observed: list[float], q: float) -> None:
    """The estimate is never further off than the width of a bucket."""
    histogram = Histogram(DURATION_BUCKETS_S)
    for value in observed:
        histogram.observe(value)
    true = float(np.quantile(observed, q, method="inverted_cdf"))
    index = bisect_left(DURATION_BUCKETS_S, true)
    low = DURATION_BUCKETS_S[index - 1] if index else 0.0
    high = DURATION_BUCKETS_S[min(index, len(DURATION_BUCKETS_S) - 1)]
    estimate = histogram.quantile(q)
    assert estimate is not None
    assert min(low, high) - 1e-12 <= estimate <= high + 1e-12


def test_quantiles_of_many_are_close() -> None:
    """Around the buckets of a ranking's objective, the 99th percentile of a real-looking load is within 5 %."""
    seconds = np.random.default_rng(1).lognormal(np.log(0.008), 0.3, 20_000)
    histogram = Histogram(DURATION_BUCKETS_S)
    for value in seconds:
        histogram.observe(float(value))
    for q in (0.5, 0.9, 0.99):
        assert histogram.quantile(q) == pytest.approx(float(np.quantile(seconds, q)), rel=0.05)


def test_nothing_observed_has_no_quantile() -> None:
    """None, rather than a number that looks like a measurement."""
    assert Histogram(DURATION_BUCKETS_S).quantile(0.5) is None


@given(values, values)
def test_histograms_add_up(one: list[float], other: list[float]) -> None:
    """Two halves together say what one of all would."""
    halves, whole = [Histogram(DURATION_BUCKETS_S) for _ in range(2)], Histogram(DURATION_BUCKETS_S)
    for half, observed in zip(halves, (one, other), strict=True):
        for value in observed:
            half.observe(value)
            whole.observe(value)
    both = halves[0].plus(halves[1])
    assert both.counts == whole.counts
    assert both.total == whole.total == len(one) + len(other)
    assert both.sum == pytest.approx(whole.sum)


class Hand:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def answered(ms: float, *, missed: bool = False) -> budget_pb2.BudgetReport:
    return budget_pb2.BudgetReport(total_us=int(ms * 1e3), missed=missed, attempts=1)


def test_a_route_counts_what_it_met() -> None:
    """Attainment is the fraction of all requests that were answered OK within their objective."""
    stats = RouteStats(Hand())
    for _ in range(7):
        stats.add("OK", answered(5))
    stats.add("OK", answered(50, missed=True))
    stats.add("DEADLINE_EXCEEDED", answered(100, missed=True))
    stats.add("RESOURCE_EXHAUSTED", None)
    assert stats.requests == 10
    assert stats.met == 7
    assert stats.lately().attainment == pytest.approx(0.7)
    assert stats.durations.total == 9
    assert dict(stats.outcomes) == {"OK": 8, "DEADLINE_EXCEEDED": 1, "RESOURCE_EXHAUSTED": 1}


def test_lately_forgets_in_two_steps() -> None:
    """A burst is still seen one window later, and no longer two windows later."""
    clock = Hand()
    stats = RouteStats(clock)
    for _ in range(60):
        stats.add("OK", answered(5))
    clock.now_s += WINDOW_S
    seen = stats.lately()
    assert seen.rate == pytest.approx(60 / WINDOW_S)
    assert seen.p50_s == pytest.approx(0.005, rel=0.2)
    clock.now_s += WINDOW_S
    seen = stats.lately()
    assert (seen.rate, seen.p50_s, seen.p99_s, seen.attainment) == (0.0, None, None, None)
    assert stats.requests == 60


def test_after_a_long_silence_nothing_old_is_lately() -> None:
    """However long nobody asked."""
    clock = Hand()
    stats = RouteStats(clock)
    stats.add("OK", answered(5))
    clock.now_s += 100 * WINDOW_S
    stats.add("OK", answered(40, missed=True))
    seen = stats.lately()
    assert seen.attainment == 0.0
    assert seen.p50_s == pytest.approx(0.04, rel=0.3)
    assert seen.rate == pytest.approx(1.0)


@pytest.mark.parametrize("after_s", [5, 14.9, 15.1, 29, 44, 100])
def test_the_rate_of_a_steady_load_is_its_rate(after_s: float) -> None:
    """Whenever one looks: requests of the window over the time that it covers."""
    clock = Hand()
    stats = RouteStats(clock)
    for _ in range(int(after_s * 10)):
        clock.now_s += 0.1
        stats.add("OK", answered(5))
    assert stats.lately().rate == pytest.approx(10, rel=0.05)


def test_every_instrument_says_what_it_is() -> None:
    """Names share a prefix, descriptions are there, and no two are the same."""
    declared = [value for value in vars(telemetry).values() if isinstance(value, Instrument)]
    assert len({instrument.name for instrument in declared}) == len(declared)
    assert all(instrument.name.startswith("isochrone_") and instrument.description for instrument in declared)
