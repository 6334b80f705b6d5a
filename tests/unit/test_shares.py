"""Shares and Arrivals: who has had the device, who is owed of it, and what has come."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.arrivals import Arrivals
from isochrone.keys import Tier
from isochrone.shares import Shares

LEAST = {Tier.GOLD: 0.3, Tier.STANDARD: 0.2, Tier.BATCH: 0.05}
ALL = dict.fromkeys(Tier, 1000)
counts = st.fixed_dictionaries({tier: st.integers(0, 100) for tier in Tier})


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Had(NamedTuple):
    """A job of one unit that has run."""

    tier: Tier
    units: int = 1


def shares() -> Shares:
    return Shares(LEAST, clock=Clock())


def test_a_tier_without_work_is_owed_nothing() -> None:
    """And one that has had less than its share is, by what is missing."""
    one = shares()
    one.spent([Had(Tier.GOLD)], a_unit_s=1.0)
    assert one.owed([Tier.GOLD]) == {}
    assert one.owed([Tier.BATCH, Tier.GOLD, Tier.STANDARD]) == {Tier.STANDARD: 0.2, Tier.BATCH: 0.05}
    assert repr(one) == "<Shares gold 100%, standard 0%, batch 0%>"


def test_what_was_long_ago_counts_no_more() -> None:
    """A tier can't save up."""
    clock = Clock()
    one = Shares(LEAST, clock=clock)
    one.spent([Had(Tier.GOLD)], a_unit_s=1.0)
    clock.now_s += 20
    assert one.owed([Tier.BATCH]) == {}


def test_a_job_out_of_turn_is_no_injustice() -> None:
    """A little less than its share is made up for by itself."""
    one = shares()
    one.spent([Had(Tier.GOLD)], a_unit_s=0.09)
    assert one.owed([Tier.BATCH]) == {}
    one.spent([Had(Tier.GOLD)], a_unit_s=0.21)
    assert one.owed([Tier.BATCH]) == {Tier.BATCH: pytest.approx(0.015)}


def test_a_flood_of_gold_leaves_the_others_their_shares() -> None:
    """What is claimed of each comes to its least share of the time; the rest goes to gold."""
    clock = Clock()
    one = Shares(LEAST, clock=clock)
    had = dict.fromkeys(Tier, 0)
    for _ in range(2000):
        left = 64
        for tier, want in one.divided(64, ALL).items():
            took = min(left, want)
            left -= took
            had[tier] += took
            one.spent([Had(tier)], a_unit_s=took * 1e-4)
        clock.now_s += 0.0064
        assert left == 0
    whole = sum(had.values())
    assert had[Tier.BATCH] / whole == pytest.approx(0.05, abs=0.01)
    assert had[Tier.STANDARD] / whole == pytest.approx(0.2, abs=0.02)


@given(st.integers(1, 64), counts, st.lists(st.tuples(st.sampled_from(Tier), st.floats(0, 1)), max_size=5))
def test_a_claim_is_filled_whatever_waits(jobs: int, waiting: dict[Tier, int], spent: list[tuple[Tier, float]]) -> None:
    """By what waited when last counted; and no tier is asked for more than the whole claim."""
    one = shares()
    for tier, seconds in spent:
        one.spent([Had(tier)], a_unit_s=seconds)
    wants = one.divided(jobs, waiting)
    assert all(0 < want <= jobs for want in wants.values())
    assert sum(min(want, waiting[tier]) for tier, want in wants.items()) >= min(jobs, sum(waiting.values()))


def test_arrivals_forget() -> None:
    """A thousand units a second are told as such, and long after as next to none."""
    some = Arrivals()
    assert math.isinf(some.rate(0.0))
    some.fresh(0.015)
    for number in range(3000):
        some.came(1, number / 1000)
    assert some.rate(3.0) == pytest.approx(1000, rel=0.05)
    assert some.rate(23.0) < 1
    some.fresh(0.5)
    assert 0.015 < some.tight_s < 0.025
    some.fresh(0.010)
    assert some.tight_s == 0.010
