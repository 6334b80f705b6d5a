"""BatchPolicy: which of the waiting jobs run now, by rules that hold for whatever waits."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

from hypothesis import example, given
from hypothesis import strategies as st

from isochrone.batching import WORTH_RATE, BatchPolicy, ClosedBy, Closing, Demand, Limits, jobs_to_claim
from isochrone.keys import Tier
from isochrone.latency import Latency

NOW_S = 100.0
ROUNDING_S = 1e-9
USUAL = Limits(units=64, jobs=64)


@dataclass(eq=False)
class Job:
    units: int
    objective_s: float
    deadline_s: float
    tier: Tier = Tier.STANDARD

    @classmethod
    def due_in(cls, objective_ms: float, deadline_ms: float = 1000.0, *, units: int = 1) -> Job:
        return cls(units, NOW_S + objective_ms / 1e3, NOW_S + deadline_ms / 1e3)


# All times in whole microseconds, as links carry them.
jobs = st.builds(
    lambda units, objective_us, more_us: Job.due_in(objective_us / 1e3, (objective_us + more_us) / 1e3, units=units),
    st.integers(1, 100),
    st.integers(-20_000, 100_000),
    st.integers(0, 100_000),
)
waitings = st.lists(jobs, max_size=24)
latencies = st.builds(
    lambda base_us, unit_us, spread: Latency(base_us / 1e6, unit_us / 1e6, spread),
    st.integers(0, 20_000),
    st.integers(0, 2_000),
    st.floats(0, 1.0),
)
limits = st.builds(Limits, units=st.integers(1, 200), jobs=st.integers(1, 16))


def close(waiting: list[Job], latency: Latency, limits: Limits = USUAL) -> Closing[Job]:
    return BatchPolicy(limits).close(waiting, now_s=NOW_S, latency=latency)


def units_of(some: list[Job]) -> int:
    return sum(job.units for job in some)


def is_on_time(job: Job, latency: Latency) -> bool:
    return NOW_S + latency.of(job.units) <= job.objective_s


@given(waitings, latencies, limits)
def test_every_job_is_in_exactly_one_list(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """No job is lost and none is doubled."""
    closing = close(waiting, latency, limits)
    decided = [*closing.run, *closing.drop, *closing.keep]
    assert len(decided) == len(waiting)
    assert {id(job) for job in decided} == {id(job) for job in waiting}


@given(waitings, latencies, limits)
def test_a_free_device_is_not_left_idle(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """Something runs unless everything was dropped."""
    closing = close(waiting, latency, limits)
    assert closing.run or len(closing.drop) == len(waiting)


@given(waitings, latencies, limits)
def test_caps_hold_for_all_but_a_single_job(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """A job heavier than a batch may be still runs, alone: the model has said that it takes it."""
    run = close(waiting, latency, limits).run
    assert len(run) <= limits.jobs
    assert units_of(run) <= limits.units or len(run) == 1


@given(waitings, latencies, limits)
def test_company_makes_nobody_late(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """No member that alone would be on time is late by the prediction for its batch."""
    run = close(waiting, latency, limits).run
    ends_s = NOW_S + latency.of(units_of(run))
    assert all(ends_s <= job.objective_s + ROUNDING_S for job in run if is_on_time(job, latency))


@given(waitings, latencies, limits)
@example(
    [Job.due_in(50, units=10), Job.due_in(-5, 12, units=10)], Latency(0.0, 0.001), Limits(units=64, jobs=64)
)  # a late one that would have ridden along into its death
def test_company_costs_nobody_the_deadline(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """Whoever shares a batch is predicted to be answered before the deadline; a hopeful case runs alone."""
    run = close(waiting, latency, limits).run
    ends_s = NOW_S + latency.of(units_of(run))
    assert len(run) <= 1 or all(ends_s <= job.deadline_s + ROUNDING_S for job in run)


@given(waitings, latencies, limits)
def test_the_hopeless_are_dropped_and_nobody_else(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """A job is dropped exactly when even a lucky batch would end after its deadline; so nothing expired runs."""
    closing = close(waiting, latency, limits)
    hopeless = [job for job in waiting if NOW_S + latency.at_best(job.units) > job.deadline_s]
    assert {id(job) for job in closing.drop} == {id(job) for job in hopeless}
    assert all(job.deadline_s >= NOW_S for job in closing.run)


@given(waitings, latencies, limits)
def test_the_batch_is_worth_the_device(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """Where not all can be in time: its rate is within a tenth of the best at hand, or the best that any urgent-first
    batch could reach."""
    if close(waiting, latency, limits).closed_by is not ClosedBy.OVERLOAD:
        return
    on_time = sorted(
        (job for job in waiting if NOW_S + latency.at_best(job.units) <= job.deadline_s and is_on_time(job, latency)),
        key=lambda job: job.objective_s,
    )
    if not on_time:
        return

    def rate(batch: list[Job]) -> float:
        return units_of(batch) / max(latency.of(units_of(batch)), 1e-9)

    def largest(some: list[Job], by_s: float) -> list[Job]:
        batch = some[:1]
        for job in some[1 : limits.jobs]:
            units = units_of(batch) + job.units
            if units > limits.units or NOW_S + latency.of(units) > by_s - ROUNDING_S:
                break
            batch.append(job)
        return batch

    at_hand = rate(largest(on_time, math.inf))
    reachable = max(rate(largest(on_time[start:], on_time[start].objective_s)) for start in range(len(on_time)))
    run = [job for job in close(waiting, latency, limits).run if is_on_time(job, latency)]
    assert rate(run) >= min(WORTH_RATE * at_hand, reachable) * (1 - 1e-6)


@given(waitings, latencies, limits)
def test_it_is_a_pure_function(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """The same facts give the same decision, and what was given stays as it was."""
    before = copy.copy(waiting)
    first, second = close(waiting, latency, limits), close(waiting, latency, limits)
    assert first == second
    assert waiting == before


@given(waitings, latencies, limits)
def test_it_says_truly_why_the_batch_closed(waiting: list[Job], latency: Latency, limits: Limits) -> None:
    """ALL means that nothing was kept, FULL that the next would not have fitted, LATE that all had missed."""
    closing = close(waiting, latency, limits)
    if closing.closed_by is ClosedBy.ALL:
        assert not closing.keep
    if closing.closed_by is ClosedBy.FULL:
        crowded = units_of(closing.run) + min(job.units for job in closing.keep) > limits.units
        assert (
            len(closing.run) == limits.jobs or crowded or units_of(closing.run) + closing.keep[0].units > limits.units
        )
    if closing.closed_by is ClosedBy.LATE:
        assert not any(is_on_time(job, latency) for job in closing.run)
    if closing.closed_by is ClosedBy.OVERLOAD:
        passed_over = min(closing.keep, key=lambda job: job.objective_s)
        assert passed_over.objective_s <= min(job.objective_s for job in closing.run)


def test_the_most_urgent_go_first() -> None:
    """With room for two of three, the two that are due first run, whatever order they came in."""
    late, soon, later = Job.due_in(90), Job.due_in(20), Job.due_in(50)
    closing = close([late, soon, later], Latency(0.001, 0.0001), Limits(units=64, jobs=2))
    assert (closing.run, closing.keep, closing.closed_by) == ([soon, later], [late], ClosedBy.FULL)


def test_a_tight_member_keeps_the_batch_small_while_there_is_room() -> None:
    """With a flat cost there is little to win by making the urgent one late."""
    tight, easy = Job.due_in(5, units=40), Job.due_in(90, units=40)
    closing = close([easy, tight], Latency(0.0, 0.0001))
    assert (closing.run, closing.keep, closing.closed_by) == ([tight], [easy], ClosedBy.FULL)
    closing = close([easy, tight], Latency(0.0, 0.0001), Limits(units=100, jobs=8))
    assert (closing.run, closing.keep, closing.closed_by) == ([tight], [easy], ClosedBy.DEADLINE)


def test_under_overload_tight_members_are_passed_over() -> None:
    """Where one about to miss would hold the batch to itself, the many run and it runs later."""
    tight, many = Job.due_in(2.5), [Job.due_in(13) for _ in range(40)]
    closing = close([tight, *many], Latency(0.002, 0.00025))
    assert (closing.run, closing.keep, closing.closed_by) == (many, [tight], ClosedBy.OVERLOAD)


def test_with_room_the_tight_one_goes_first() -> None:
    """By itself, where the others are in time behind it."""
    tight, many = Job.due_in(2.5), [Job.due_in(50) for _ in range(60)]
    closing = close([*many, tight], Latency(0.002, 0.00025))
    assert (closing.run, closing.closed_by) == ([tight], ClosedBy.DEADLINE)


def test_batches_are_no_larger_than_it_takes_to_keep_up() -> None:
    """A long one of jobs that have time would keep the device from a tight one that comes meanwhile."""
    many = [Job.due_in(500) for _ in range(64)]
    policy, latency = BatchPolicy(USUAL), Latency(0.002, 0.00025)

    def run(**demand: float) -> int:
        return len(policy.close(many, now_s=NOW_S, latency=latency, demand=Demand(**demand)).run)

    assert run(arriving=1000, tight_s=0.015) == 25
    assert run(arriving=3000, tight_s=0.015) == 25
    assert run(arriving=3400, tight_s=0.015) == 46
    assert run(arriving=1000, behind=1000, tight_s=0.015) == 64
    assert run() == 64


def tier_job(tier: Tier, objective_ms: float, deadline_ms: float = 1000.0) -> Job:
    job = Job.due_in(objective_ms, deadline_ms)
    job.tier = tier
    return job


def test_lower_tiers_yield_first() -> None:
    """Where all together are too much and gold alone is not, gold is in time, and others have the room left."""
    gold = [tier_job(Tier.GOLD, 30) for _ in range(20)]
    others = [tier_job(Tier.BATCH, 10) for _ in range(60)]
    closing = close([*others, *gold], Latency(0.002, 0.00025))
    assert closing.run == gold
    assert closing.closed_by is ClosedBy.OVERLOAD


def test_what_a_tier_is_owed_it_gets() -> None:
    """Though gold would fill the batch; a late one that is owed counts as in time until its deadline."""
    gold = [tier_job(Tier.GOLD, 19) for _ in range(90)]
    batch = [tier_job(Tier.BATCH, -5, 500) for _ in range(10)]
    policy, latency = BatchPolicy(USUAL), Latency(0.002, 0.00025)
    closing = policy.close([*gold, *batch], now_s=NOW_S, latency=latency, owed={Tier.BATCH: 0.001})
    assert [job.tier for job in closing.run].count(Tier.BATCH) == 4
    assert Tier.BATCH not in {job.tier for job in policy.close([*gold, *batch], now_s=NOW_S, latency=latency).run}


@given(
    waitings,
    latencies,
    limits,
    st.lists(st.sampled_from(Tier), min_size=24, max_size=24),
    st.sets(st.sampled_from(Tier)),
)
def test_tiers_and_what_they_are_owed_break_no_rule(
    waiting: list[Job], latency: Latency, limits: Limits, tiers: list[Tier], owed: set[Tier]
) -> None:
    """No job is lost or doubled, caps hold, nothing hopeless runs, and company makes nobody late."""
    for job, tier in zip(waiting, tiers, strict=False):
        job.tier = tier
    policy = BatchPolicy(limits)
    closing = policy.close(waiting, now_s=NOW_S, latency=latency, owed=dict.fromkeys(owed, 0.01))
    decided = [*closing.run, *closing.drop, *closing.keep]
    assert len(decided) == len(waiting)
    assert {id(job) for job in decided} == {id(job) for job in waiting}
    assert closing.run or len(closing.drop) == len(waiting)
    assert len(closing.run) <= limits.jobs
    assert units_of(closing.run) <= limits.units or len(closing.run) == 1
    ends_s = NOW_S + latency.of(units_of(closing.run))
    assert all(ends_s <= job.objective_s + ROUNDING_S for job in closing.run if is_on_time(job, latency))
    assert len(closing.run) <= 1 or all(ends_s <= job.deadline_s + ROUNDING_S for job in closing.run)


def test_it_says_whether_some_will_be_late() -> None:
    """Who is passed over, who is late already; and not who goes with the next batch."""
    latency = Latency(base_s=0.010, per_unit_s=0.001)
    tight = Job.due_in(12)
    assert not close([tight, Job.due_in(30)], latency).some_late
    assert close([tight, *[Job.due_in(13)] * 3], latency).some_late
    assert close([Job.due_in(5)], latency).some_late


def test_late_jobs_ride_along_where_nobody_pays() -> None:
    """Past its objective but before its deadline, a job joins a batch that stays on time with it."""
    fine, late = Job.due_in(50), Job.due_in(-5, 500)
    assert close([late, fine], Latency(0.001, 0.001)).run == [fine, late]
    closing = close([late, fine], Latency(0.001, 0.030))
    assert (closing.run, closing.keep, closing.closed_by) == ([fine], [late], ClosedBy.DEADLINE)


def test_when_all_are_late_those_that_end_first_go_first() -> None:
    """Better late than never, in the order of their deadlines."""
    one, two = Job.due_in(-5, 500), Job.due_in(-9, 900)
    closing = close([two, one], Latency(0.001, 0.001), Limits(units=64, jobs=1))
    assert (closing.run, closing.keep, closing.closed_by) == ([one], [two], ClosedBy.LATE)


@given(st.integers(-5, 10_000), st.floats(0, 5_000), st.integers(1, 64))
def test_at_least_one_job_is_claimed_and_at_most_a_batch(room_units: int, mean_units: float, most: int) -> None:
    """However little is known of their weight."""
    assert 1 <= jobs_to_claim(room_units=room_units, mean_units=mean_units, most=most) <= most


def test_no_more_jobs_are_claimed_than_fit() -> None:
    """Going by how heavy they were lately."""
    assert jobs_to_claim(room_units=640, mean_units=64.0, most=64) == 10
