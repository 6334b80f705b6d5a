"""What a lane promises: jobs that wait, nodes that are busy, and by how much answers were later than foretold."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.keys import Tier
from isochrone_router.correction import STALE_S, Correction
from isochrone_router.forecast import Forecast
from isochrone_router.waiting import RANK, Waiting

tiers = st.sampled_from(Tier)
jobs = st.lists(st.tuples(tiers, st.integers(0, 50).map(float)), max_size=40)


@given(jobs, tiers, st.integers(0, 50).map(float))
def test_ahead_are_higher_tiers_and_what_is_due_sooner(
    some: list[tuple[Tier, float]], tier: Tier, due_s: float
) -> None:
    """As a plain count of all jobs has it."""
    waiting = Waiting()
    for job in some:
        waiting.add(*job)
    expected = sum(RANK[other] < RANK[tier] or (other is tier and due < due_s) for other, due in some)
    assert waiting.ahead(RANK[tier], due_s) == expected
    assert waiting.total == len(some)


@given(jobs, st.randoms(use_true_random=False))
def test_what_came_and_went_leaves_nothing(some: list[tuple[Tier, float]], dice: random.Random) -> None:
    """In any order; one that was never here changes nothing."""
    waiting = Waiting()
    for job in some:
        waiting.add(*job)
    dice.shuffle(some)
    waiting.remove(Tier.GOLD, 99.0)
    for job in some:
        waiting.remove(*job)
    assert (waiting.jobs, repr(waiting)) == (0, "<Waiting none, 0 of others>")


def test_others_jobs_are_as_urgent_as_ours() -> None:
    """Half of ours are due sooner, so half of theirs are taken to be; where we have none, all of theirs."""
    waiting = Waiting()
    waiting.others_are(Tier.STANDARD, 10)
    assert waiting.ahead(1, 5.0) == 10
    waiting.add(Tier.STANDARD, 1.0)
    waiting.add(Tier.STANDARD, 9.0)
    assert waiting.ahead(1, 5.0) == 1 + 5
    waiting.others_are(Tier.STANDARD, -3)  # a claim was on its way when they were counted
    assert waiting.ahead(1, 5.0) == 1


class Free:
    """NodeFacts of a node that is free, and does ten units in 20 ms."""

    claims, base_s, per_unit_s, batch_units, weight, per_job_s = True, 0.010, 0.001, 10, 1.0, 0.002
    free_at_s = backlog_s = 0.0


def test_a_tier_waits_behind_its_own_where_higher_ones_want_everything() -> None:
    """It has its share of the time however many they are; where they are few, it waits for them alone."""
    forecast = Forecast(shares=(0.5, 0.25, 0.0))
    forecast.renew([Free()])

    def finish_s(tier: Tier) -> float:
        return forecast.finish(1, rank=RANK[tier], due_s=2.0, now_s=0.0)[0]

    for _ in range(20):
        forecast.waiting.add(Tier.GOLD, 1.0)
    alone_s = 0.011
    assert finish_s(Tier.STANDARD) == pytest.approx(alone_s)
    for _ in range(10):
        forecast.waiting.add(Tier.STANDARD, 1.0)
    assert finish_s(Tier.STANDARD) == pytest.approx(3 * 0.020 + alone_s)
    for _ in range(1000):
        forecast.waiting.add(Tier.GOLD, 1.0)
    assert finish_s(Tier.STANDARD) == pytest.approx(0.020 / 0.25 + alone_s)
    assert finish_s(Tier.BATCH) > 2.0


def fed(*took_ms: float, every_s: float = 0.005) -> tuple[Correction, float]:
    correction, now_s = Correction(), 10.0
    for ms in took_ms:
        now_s += every_s
        correction.observe(foretold_s=0.002, took_s=ms / 1e3, now_s=now_s)
    return correction, now_s


def test_a_lasting_difference_is_learnt() -> None:
    """Answers that come 3 ms later than foretold are expected to."""
    correction, now_s = fed(*[5.0] * 100)
    assert correction.expected_s(now_s) == pytest.approx(0.003, rel=0.01)
    assert correction.at(0.5, 0.0) == 0


def test_one_answer_that_is_far_off_changes_little() -> None:
    """However far."""
    correction, now_s = fed(*[4.9, 5.1] * 100)
    before_s = correction.expected_s(now_s)
    correction.observe(foretold_s=0.002, took_s=10.0, now_s=now_s + 0.005)
    assert correction.expected_s(now_s + 0.005) == pytest.approx(before_s, abs=0.0002)


def test_the_quantile_grows_with_the_spread() -> None:
    """And covers nearly all answers of a steady kind."""
    dice = random.Random(7)
    correction, now_s = fed(*[5 + dice.gauss(0, 1) for _ in range(2000)])
    within_s = 0.002 + correction.expected_s(now_s) + correction.at(0.999, now_s)
    assert sum(5 + dice.gauss(0, 1) <= within_s * 1e3 for _ in range(2000)) >= 1990


def test_what_is_not_confirmed_fades() -> None:
    """So that a lane which was slow once is tried again."""
    correction, now_s = fed(*[100.0] * 100)
    assert correction.expected_s(now_s + 10 * STALE_S) < 0.001


def test_so_does_how_far_apart_answers_were() -> None:
    """Else a lane whose answers came unsteadily once is never asked again; and one answer doesn't bring it back."""
    correction, now_s = fed(*[5.0, 25.0] * 100)
    then_s = now_s + 10 * STALE_S
    assert correction.at(0.999, now_s) > 0.03
    assert correction.at(0.999, then_s) < 0.001
    correction.observe(foretold_s=0.002, took_s=0.005, now_s=then_s)
    assert correction.at(0.999, then_s) < 0.005
