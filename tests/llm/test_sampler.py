"""The next token is drawn by each row's own parameters and chance, whatever else is in the batch."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isochrone_llm.engine import SamplingParams
from isochrone_llm.sampler import sample

LOGITS = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()
"""Of tokens with these probabilities: by likelihood 1, 3, 2, 0."""


def draws(params: SamplingParams, count: int = 1000) -> Counter[int]:
    """What chances spread evenly over [0, 1) come to."""
    return Counter(sample(LOGITS.expand(count, 4), [params] * count, [k / count for k in range(count)]))


def test_greedy_takes_the_likeliest() -> None:
    assert draws(SamplingParams(max_tokens=1)) == {1: 1000}


def test_draws_follow_the_probabilities() -> None:
    """To a rounding of the chances."""
    counts = draws(SamplingParams(max_tokens=1, temperature=1.0))
    assert counts == pytest.approx({0: 100, 1: 400, 2: 200, 3: 300}, abs=2)


@pytest.mark.parametrize(
    ("top_k", "top_p", "tokens"),
    [(1, 1.0, {1}), (2, 1.0, {1, 3}), (9, 1.0, {0, 1, 2, 3}), (0, 0.05, {1}), (0, 0.5, {1, 3}), (3, 0.8, {1, 3, 2})],
)
def test_top_k_and_top_p_leave_the_likeliest(top_k: int, top_p: float, tokens: set[int]) -> None:
    """top_p takes the fewest that reach it, the one that does included; both together, whichever is narrower."""
    assert draws(SamplingParams(max_tokens=1, temperature=1.0, top_k=top_k, top_p=top_p)).keys() == tokens


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 1e-3])
def test_no_temperature_is_too_low(temperature: float) -> None:
    """It comes to the likeliest, not to an overflow."""
    assert draws(SamplingParams(max_tokens=1, temperature=temperature)) == {1: 1000}


def test_heat_evens_out() -> None:
    counts = draws(SamplingParams(max_tokens=1, temperature=100.0))
    assert counts == pytest.approx(dict.fromkeys(range(4), 250), abs=10)


@given(
    rows=st.lists(
        st.tuples(
            st.lists(st.floats(-50, 50), min_size=5, max_size=5),
            st.builds(
                SamplingParams,
                max_tokens=st.just(1),
                temperature=st.sampled_from([0.0, 0.5, 1.0, 10.0]),
                top_p=st.sampled_from([0.1, 0.9, 1.0]),
                top_k=st.sampled_from([0, 1, 3, 2**32 - 1]),
            ),
            st.floats(0, 1, exclude_max=True),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_rows_do_not_touch_each_other(rows: list[tuple[list[float], SamplingParams, float]]) -> None:
    """In a batch each row gets what it gets alone."""
    logits, params, chances = zip(*rows, strict=True)
    together = sample(torch.tensor(logits), params, chances)
    assert together == [sample(torch.tensor([row]), [one], [chance])[0] for row, one, chance in rows]
