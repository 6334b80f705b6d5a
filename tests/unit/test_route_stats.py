"""What is counted of requests: how they ended, where their time went, and under which labels."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.batching import ClosedBy
from isochrone.errors import REASONS
from isochrone.keys import Tier
from isochrone.telemetry import STAGES
from isochrone.tracing import Sampler
from isochrone.v1 import budget_pb2
from isochrone_router.past import Past, Try
from isochrone_router.plan_stats import by_lane
from isochrone_router.planner import Finish, Plan, Why
from isochrone_router.prices import Price
from isochrone_router.route_stats import MOST_ATTEMPTS, OTHER, WINDOW_S, RouteStats

ROUTE, LANE = "shop.v1.Search/Rank", "ranker.fp32@cpu"


class Hand:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def past(code: str = "OK", *, reason: str = "", **report: Any) -> Past:
    """A request that is over, with what its report says."""
    said = {"tier": "standard", "attempts": 1} | report
    if "stage_us" in said:
        said["total_us"] = sum(said["stage_us"])
    return Past(ROUTE, code, reason, 1.0, budget_pb2.BudgetReport(**said), Sampler(0).place())


def answered(ms: float, *, missed: bool = False) -> Past:
    return past(total_us=int(ms * 1e3), missed=missed)


def sent(
    ms: float,
    *,
    expected_ms: float = 4.0,
    within_ms: float = 6.0,
    lane: str = LANE,
    why: Why = Why.CHEAPEST,
    **report: Any,
) -> Past:
    """A request that was planned, ran, and cost three."""
    plan = Plan(lane, None, why, Finish(expected_ms / 1e3, 0.0, 0.0), within_ms / 1e3)
    told = past(total_us=int(ms * 1e3), lane=lane, **report)
    return told._replace(plan=plan, price=Price(3.0, 60.0))


def refused(reason: str = "QUEUE_FULL") -> Past:
    return past("RESOURCE_EXHAUSTED", reason=reason, attempts=0, stage_us=[80, 0, 0, 0, 0, 0])


def test_a_route_counts_what_it_met() -> None:
    """Attainment is the fraction of all requests that were answered OK within their objective."""
    stats = RouteStats(Hand())
    for _ in range(7):
        stats.add(answered(5))
    stats.add(answered(50, missed=True))
    stats.add(past("DEADLINE_EXCEEDED", total_us=100_000, missed=True))
    stats.add(refused())
    assert stats.requests == 10
    assert stats.met == 7
    assert stats.lately().attainment == pytest.approx(0.7)
    assert dict(stats.outcomes) == {"OK": 8, "DEADLINE_EXCEEDED": 1, "RESOURCE_EXHAUSTED": 1}


def test_refusals_are_counted_by_reason_and_make_nothing_look_quick() -> None:
    """However many are refused, the median is that of the others."""
    stats = RouteStats(Hand())
    for _ in range(9):
        stats.add(refused())
    stats.add(refused("DRAINING"))
    stats.add(answered(40))
    assert stats.refusals == {"QUEUE_FULL": 9, "DRAINING": 1}
    assert stats.lately().p50_s == pytest.approx(0.04, rel=0.3)
    assert stats.lately().attainment == pytest.approx(1 / 11)


def test_what_failed_later_was_no_refusal() -> None:
    """A node had been given it; nor is it one where the caller left."""
    stats = RouteStats(Hand())
    stats.add(past("UNAVAILABLE", reason="NODE_LOST", stage_us=[80, 900, 0, 0, 0, 0]))
    stats.add(past("CANCELLED", attempts=0, stage_us=[80, 0, 0, 0, 0, 0]))
    assert not stats.refusals


def test_stages_of_what_ran_are_all_counted() -> None:
    """A stage that took no time is one all the same; one that was never come to isn't."""
    stats = RouteStats(Hand())
    batch = budget_pb2.BatchInfo(jobs=3, units=30, closed_by="full")
    stats.add(past(stage_us=[100, 200, 0, 4000, 0, 50], batch=batch, units=10))
    stats.add(past("DEADLINE_EXCEEDED", stage_us=[100, 90_000, 0, 0, 0, 0]))
    assert [histogram.total for histogram in stats.stages] == [2, 2, 1, 1, 1, 1]
    assert stats.stages[1].sum == pytest.approx(0.0902)
    assert (stats.batch_jobs.sum, stats.batch_units.sum, stats.units) == (3, 30, 10)
    assert stats.closed_by == {"full": 1}


def test_an_answer_that_streams_is_measured_to_its_first_chunk() -> None:
    """And from there by chunk: one observation for each interval."""
    stats = RouteStats(Hand())
    stats.add(past(total_us=1_030_000, first_us=30_000, chunks=101))
    stats.add(past(total_us=31_000, first_us=30_000, chunks=1))
    assert stats.first_chunks.total == 2
    assert stats.first_chunks.sum == pytest.approx(0.06)
    assert stats.chunk_intervals.total == 100
    assert stats.chunk_intervals.sum == pytest.approx(1.0)
    ((_, _, end),) = stats.ends
    assert end.durations.sum == pytest.approx(0.06)


def test_misses_go_by_blame() -> None:
    """Each is counted once, also where nothing is to blame."""
    stats = RouteStats(Hand())
    for blame in (budget_pb2.STAGE_QUEUE, budget_pb2.STAGE_QUEUE, budget_pb2.STAGE_COMPUTE):
        stats.add(past(total_us=20_000, missed=True, blame=blame))
    assert {stage: count for stage, count in stats.misses.items() if count} == {"queue": 2, "compute": 1}
    assert set(stats.misses) == set(STAGES)
    stats.add(past(total_us=20_000, missed=True))
    assert stats.misses[OTHER] == 1


def test_promises_are_compared_with_what_was_taken() -> None:
    """By lane, from claim to reply. What another node had promised before doesn't count."""
    stats = RouteStats(Hand())
    batch = budget_pb2.BatchInfo(jobs=1)
    one = past(lane=LANE, stage_us=[100, 5_000, 1_000, 4_000, 1_000, 100], batch=batch)._replace(predicted_us=4_000)
    stats.add(one)
    stats.add(one._replace(tries=(Try("node-0", 1.0, 2.0, "its node is gone"),)))
    stats.add(one._replace(code="UNAVAILABLE"))
    stats.add(one._replace(predicted_us=0))
    (histogram,) = stats.finishes.values()
    assert set(stats.finishes) == {LANE}
    assert (histogram.total, histogram.sum) == (1, pytest.approx(1.5))


anything = st.text(max_size=8)


@given(
    st.lists(
        st.tuples(
            anything | st.sampled_from(Tier), anything | st.sampled_from(sorted(REASONS)), anything, st.integers(0, 9)
        )
    )
)
def test_nothing_that_anybody_says_becomes_a_label(said: list[tuple[str, str, str, int]]) -> None:
    """A tier that a caller made up, a reason or a way to close batches that a node did, any number of attempts."""
    stats = RouteStats(Hand())
    for tier, reason, closed_by, attempts in said:
        batch = budget_pb2.BatchInfo(jobs=1, units=1, closed_by=closed_by) if attempts else None
        code = "OK" if attempts else "UNAVAILABLE"
        stats.add(past(code, reason=reason, tier=tier, attempts=attempts, stage_us=[1] * 6, batch=batch))
    assert {tier for tier, _, _ in stats.ends} <= {*Tier, OTHER}
    assert set(stats.refusals) <= REASONS | {OTHER}
    assert set(stats.closed_by) <= {*ClosedBy, OTHER}
    assert set(stats.attempts) <= set(range(MOST_ATTEMPTS + 1))
    assert stats.requests == stats.refusals.total() + stats.closed_by.total() == len(said)


def test_lately_forgets_in_two_steps() -> None:
    """A burst is still seen one window later, and no longer two windows later."""
    clock = Hand()
    stats = RouteStats(clock)
    for _ in range(60):
        stats.add(answered(5))
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
    stats.add(answered(5))
    clock.now_s += 100 * WINDOW_S
    stats.add(answered(40, missed=True))
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
        stats.add(answered(5))
    assert stats.lately().rate == pytest.approx(10, rel=0.05)


def test_plans_are_counted_by_lane_and_why_with_what_came_of_them() -> None:
    """What was foretold against what came, and what it cost."""
    stats = RouteStats(Hand())
    stats.add(sent(5))
    stats.add(sent(7))
    stats.add(sent(8, why=Why.LATE, expected_ms=20, within_ms=30))
    stats.add(sent(1, lane="ranker.fp32@cuda"))
    assert {key: plan.requests for key, plan in stats.plans.items()} == {
        (LANE, "cheapest"): 2,
        (LANE, "late"): 1,
        ("ranker.fp32@cuda", "cheapest"): 1,
    }
    plan = by_lane(stats.plans.items())[LANE]
    assert (plan.answers, plan.within) == (3, 2)
    assert (plan.expected_s, plan.actual_s) == (pytest.approx(0.028), pytest.approx(0.020))
    assert plan.ratios.total == 3
    assert plan.ratios.sum == pytest.approx(5 / 4 + 7 / 4 + 8 / 20)
    assert (plan.cost, plan.joules) == (9.0, 180.0)
    assert repr(plan) == "<PlanStats of 3 requests, 2 of 3 answers as foretold>"


def test_what_was_sent_twice_is_charged_to_the_lane_that_answered() -> None:
    """And says nothing of forecasts: it took what two of them took."""
    stats = RouteStats(Hand())
    stats.add(sent(9, attempts=2)._replace(report=sent(9, attempts=2, lane="ranker.fp32@cuda").report))
    planned, charged = stats.plans[LANE, "cheapest"], stats.plans["ranker.fp32@cuda", "cheapest"]
    assert (planned.requests, planned.answers, planned.cost) == (1, 0, 0.0)
    assert (charged.requests, charged.answers, charged.cost) == (0, 0, 3.0)


def test_failures_and_fallbacks_say_nothing_of_forecasts() -> None:
    """They were sent, and that is counted; what ran has cost something."""
    stats = RouteStats(Hand())
    stats.add(sent(100)._replace(code="DEADLINE_EXCEEDED", price=None))
    stats.add(sent(9, fallback=budget_pb2.Fallback(source="static"))._replace(reason="INTERNAL"))
    stats.add(refused())
    plan = stats.plans[LANE, "cheapest"]
    assert (plan.requests, plan.answers, plan.cost) == (2, 0, 3.0)
    assert len(stats.plans) == 1
