"""Histograms, and the one list of what there is to count."""

from __future__ import annotations

import re
from bisect import bisect_left
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone import telemetry
from isochrone.telemetry import DURATION_BUCKETS_S, Histogram, Instrument

ROOT = Path(__file__).parents[2]
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


DECLARED = [value for value in vars(telemetry).values() if isinstance(value, Instrument)]


def test_every_instrument_says_what_it_is() -> None:
    """Names share a prefix, descriptions are there, and no two are the same, also as Prometheus has them."""
    for names in ({one.name for one in DECLARED}, {one.prometheus_name for one in DECLARED}):
        assert len(names) == len(DECLARED)
        assert all(name.startswith("isochrone") for name in names)
    assert all(one.description for one in DECLARED)


@pytest.mark.parametrize(
    ("instrument", "name"),
    [
        (telemetry.REQUESTS, "isochrone_requests_total"),
        (telemetry.DURATION, "isochrone_request_duration_seconds"),
        (telemetry.INFLIGHT_BYTES, "isochrone_inflight_bytes"),
        (telemetry.FINISH, "isochrone_finish_ratio"),
        (telemetry.ENGINE_KV, "isochrone_engine_kv_used_ratio"),
        (telemetry.LANE_OPEN, "isochrone_lane_open"),
    ],
)
def test_prometheus_names_are_what_a_collector_makes_of_them(instrument: Instrument, name: str) -> None:
    """Units at the end, and `_total` for what only grows, once."""
    assert instrument.prometheus_name == name


def test_the_page_on_telemetry_lists_every_metric() -> None:
    """With its type and its labels, and no others."""
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(isochrone_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    told = {(name, kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in listed}
    assert told == {(one.prometheus_name, str(one.kind), one.labels) for one in DECLARED}
