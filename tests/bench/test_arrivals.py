"""When requests come."""

from __future__ import annotations

import numpy as np
import pytest
from bench.arrivals import LOW, burst_arrivals_s, day_arrivals_s, mean_of_day


@pytest.mark.parametrize("cv", [1.0, 4.0])
def test_bursts_have_their_rate_and_spread(cv: float) -> None:
    """And are the same for the same seed, stretched by the rate."""
    arrivals_s = burst_arrivals_s(1000, cv=cv, begin_s=50, end_s=250, seed=5)
    gaps_s = np.diff(arrivals_s)
    assert 50 <= arrivals_s[0] < arrivals_s[-1] < 250
    assert len(arrivals_s) == pytest.approx(200_000, rel=0.03)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(cv, rel=0.05)
    twice = burst_arrivals_s(2000, cv=cv, begin_s=0, end_s=100, seed=5)
    assert np.diff(twice[:100]) * 2 == pytest.approx(gaps_s[:99])


def test_a_day_rises_to_its_peak_and_falls() -> None:
    """Night has a tenth of noon, and the mean is as it is told."""
    arrivals_s = np.array(day_arrivals_s(1000, begin_s=0, end_s=100, seed=2))
    night, morning, noon, evening = (
        np.sum((arrivals_s >= from_s) & (arrivals_s < from_s + 2)) / 2 for from_s in (0, 24, 49, 74)
    )
    assert night < 2 * LOW * 1000 < morning < noon
    assert evening == pytest.approx(morning, rel=0.15)
    assert noon == pytest.approx(1000, rel=0.1)
    assert len(arrivals_s) / 100 == pytest.approx(mean_of_day(1000), rel=0.02)
