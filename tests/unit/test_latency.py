"""LatencyModel: how long a batch takes, learnt from batches that ran."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.latency import Latency, LatencyModel

SIZES = (1, 4, 16, 64, 256)
WARM_UP = [units for units in SIZES for _ in range(3)]

truths = st.builds(
    lambda base_us, unit_us: Latency(base_us / 1e6, unit_us / 1e6), st.integers(50, 20_000), st.integers(0, 500)
)
seeds = st.integers(0, 2**32)


def warm(truth: Latency, dice: random.Random, *, noise: float = 0.0) -> LatencyModel:
    return LatencyModel.fitted([(units, truth.of(units) * dice.uniform(1 - noise, 1 + noise)) for units in WARM_UP])


@given(truths)
def test_warm_up_finds_the_line(truth: Latency) -> None:
    """From exact samples of several sizes comes the exact line, with no spread."""
    found = warm(truth, random.Random(0)).current
    assert found.base_s == pytest.approx(truth.base_s, abs=1e-9)
    assert found.per_unit_s == pytest.approx(truth.per_unit_s, abs=1e-9)
    assert found.spread == pytest.approx(0, abs=1e-9)


@given(truths, seeds)
def test_noise_averages_out(truth: Latency, seed: int) -> None:
    """With 5 % of noise, predictions over the range of sizes are within 5 % after some hundred batches."""
    dice = random.Random(seed)
    model = warm(truth, dice, noise=0.05)
    for _ in range(300):
        units = dice.choice(SIZES)
        model.observe(units, truth.of(units) * dice.uniform(0.95, 1.05))
    for units in (16, 64, 256):
        assert model.current.of(units) == pytest.approx(truth.of(units), rel=0.05)


@given(truths, seeds, st.sampled_from(SIZES))
def test_one_hiccup_moves_little(truth: Latency, seed: int, units: int) -> None:
    """A batch that took a hundred times as long changes no prediction by more than a tenth of what it, the batch
    or one of the usual size was expected to take: a fifth is as much as it counts, and the largest size has a lever."""
    dice = random.Random(seed)
    model = warm(truth, dice, noise=0.02)
    for _ in range(100):
        size = dice.choice(SIZES)
        model.observe(size, truth.of(size) * dice.uniform(0.98, 1.02))
    before = model.current
    model.observe(units, 100 * truth.of(units))
    for size in SIZES:
        assert model.current.of(size) == pytest.approx(before.of(size), abs=0.1 * before.of(max(size, units, 64)))


@given(truths, seeds)
def test_a_lasting_change_is_learnt(truth: Latency, seed: int) -> None:
    """A device that takes a quarter longer from now on is predicted within a tenth after 150 batches."""
    dice = random.Random(seed)
    model = warm(truth, dice, noise=0.02)
    for _ in range(150):
        units = dice.choice(SIZES)
        model.observe(units, 1.25 * truth.of(units) * dice.uniform(0.98, 1.02))
    for units in (16, 64, 256):
        assert model.current.of(units) == pytest.approx(1.25 * truth.of(units), rel=0.1)


@given(truths, seeds, st.sampled_from([0.1, 0.5, 2.0, 10.0]))
def test_a_change_of_pace_is_learnt_at_once(truth: Latency, seed: int, pace: float) -> None:
    """A CPU that is throttled, or no longer is, takes so many times as long: after five batches of any sizes that is
    what is predicted, for those that were not seen as well."""
    dice = random.Random(seed)
    model = warm(truth, dice, noise=0.02)
    if min(truth.of(size) for size in SIZES) * abs(pace - 1) < 100e-6:
        return  # too little to matter
    for number in range(5):
        units = dice.choice(SIZES)
        changed = model.observe(units, pace * truth.of(units) * dice.uniform(0.98, 1.02))
        assert changed == (number == 4)
    for units in SIZES:
        assert model.current.of(units) == pytest.approx(pace * truth.of(units), rel=0.2)


@given(truths, st.integers(1, 256), st.floats(0, 1))
def test_a_quantile_is_no_less_than_the_expectation(truth: Latency, units: int, spread: float) -> None:
    """And grows with it; half of all batches are done by the expectation."""
    latency = Latency(truth.base_s, truth.per_unit_s, spread)
    within = [latency.at(units, quantile) for quantile in (0.1, 0.5, 0.9, 0.99, 0.999)]
    assert within[:2] == [latency.of(units)] * 2
    assert within == sorted(within)


def test_batches_of_one_size_keep_the_slope() -> None:
    """They say nothing of how time grows with size, so the slope stays and the base moves."""
    model = LatencyModel.fitted([(1, 0.0011), (64, 0.0074), (256, 0.0266)])
    slope = model.current.per_unit_s
    for _ in range(200):
        model.observe(64, 0.0084)
    assert model.current.per_unit_s == pytest.approx(slope, rel=0.2)
    assert model.current.of(64) == pytest.approx(0.0084, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 10)), max_size=60), st.booleans())
def test_no_part_of_the_time_is_ever_negative(samples: list[tuple[int, float]], fitted: bool) -> None:
    """Whatever was measured, base, slope and spread stay at 0 or above."""
    model = LatencyModel.fitted(samples[:10]) if fitted else LatencyModel(Latency(0.001, 0.0001))
    for units, seconds in samples:
        model.observe(units, seconds)
        current = model.current
        assert current.base_s >= 0
        assert current.per_unit_s >= 0
        assert current.spread >= 0


def test_without_samples_everything_is_free() -> None:
    """A model that was never warmed up promises nothing, and refuses nothing either."""
    assert LatencyModel.fitted([]).current == Latency(0.0, 0.0, 0.0)
    assert Latency(0.0, 0.0).units_within(0.0) > 2**30


@given(truths, st.one_of(st.floats(-1, 10), st.just(float("inf"))))
def test_the_largest_batch_within_a_time_is_done_in_it(truth: Latency, seconds: float) -> None:
    """And one unit more would not be."""
    units = truth.units_within(seconds)
    assert units >= 0
    if 0 < units < 2**31:
        assert truth.of(units) <= seconds + 1e-9
        assert truth.of(units + 1) > seconds - 1e-9


@given(truths, st.floats(0, 0.01), st.integers(1, 1000))
def test_the_best_case_is_between_half_the_prediction_and_the_prediction(
    truth: Latency, spread: float, units: int
) -> None:
    """However wide the spread, hope has a limit."""
    latency = Latency(truth.base_s, truth.per_unit_s, spread)
    assert 0.5 * latency.of(units) <= latency.at_best(units) <= latency.of(units)
