"""Staging and Seen: the jobs a node has and hasn't run yet, and those that it has had."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from fakes import ROUTER, staged
from isochrone.batching import ClosedBy
from isochrone.node.staging import JobKey, Ran, Seen, Staging


def test_a_stage_knows_its_jobs_and_their_weight() -> None:
    """Added, taken and cancelled; the units are those of the jobs that are there."""
    stage = Staging(asyncio.Event())
    light, heavy, other = staged(1), staged(2, b"ok:12345"), staged(3)
    for job in (light, heavy, other):
        stage.add(job)
    assert (len(stage), stage.units, stage.jobs) == (3, 7, [light, heavy, other])
    stage.take([light])
    assert stage.cancel(heavy.key) is heavy
    assert stage.cancel(heavy.key) is None
    assert heavy.key not in stage
    assert other.key in stage
    assert (len(stage), stage.units) == (1, 1)


def test_the_most_urgent_is_the_one_that_is_due_first() -> None:
    """Whatever the order in which they came."""
    stage = Staging(asyncio.Event())
    for number, due_s in enumerate((30.0, 10.0, 20.0)):
        stage.add(staged(number, deadline_s=due_s))
    assert stage.most_urgent_s == 10.0


def test_whoever_waits_for_a_job_is_woken() -> None:
    """By one that is there, and by one that will not come: it looks again either way."""
    filled = asyncio.Event()
    stage = Staging(filled)
    stage.add(staged(1))
    assert filled.is_set()
    filled.clear()
    stage.expect(5)
    assert stage.expected_units == 5
    assert not filled.is_set()
    stage.no_longer_expect(5)
    assert stage.expected_units == 0
    assert filled.is_set()


@given(st.lists(st.tuples(st.sampled_from(["add", "take", "cancel"]), st.integers(0, 5))))
def test_units_never_drift(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in which order, they are the sum over the jobs that are there."""
    stage = Staging(asyncio.Event())
    for step, number in steps:
        key = JobKey(ROUTER, number)
        if step == "add" and key not in stage:
            stage.add(staged(number, b"ok:" + b"x" * number))
        elif step == "take":
            stage.take([job for job in stage.jobs if job.key == key])
        elif step == "cancel":
            stage.cancel(key)
        assert stage.units == sum(job.units for job in stage.jobs)


def test_a_job_is_new_once() -> None:
    """A copy of it is known, also when the first has long been answered; another router's is another job."""
    seen = Seen()
    assert seen.is_new(JobKey(1, 7))
    assert not seen.is_new(JobKey(1, 7))
    assert seen.is_new(JobKey(2, 7))


def test_memory_is_bounded() -> None:
    """The oldest is forgotten first."""
    seen = Seen(most=3)
    for number in range(5):
        assert seen.is_new(JobKey(1, number))
    assert len(seen) == 3
    assert not seen.is_new(JobKey(1, 4))
    assert seen.is_new(JobKey(1, 0))


def test_a_router_that_is_gone_is_forgotten() -> None:
    """Nobody else can ask for its jobs."""
    seen = Seen()
    for owner in (1, 2):
        seen.is_new(JobKey(owner, 7))
    seen.forget_owner(1)
    assert len(seen) == 1
    assert not seen.is_new(JobKey(2, 7))


def test_a_batch_that_never_ran_has_nothing_to_tell() -> None:
    """Its members' reports have no batch then."""
    assert Ran("toy@cpu", 1.0).as_info() is None
    info = Ran("toy@cpu", 1.0, jobs=3, units=9, closed_by=ClosedBy.FULL).as_info()
    assert info is not None
    assert (info.jobs, info.units, info.closed_by) == (3, 9, "full")
