"""Ledger: where a request's budget went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.ledger import Ledger, stages
from isochrone.v1 import budget_pb2

RECEIVED_S = 1000.0
moments = st.one_of(st.just(0.0), st.floats(RECEIVED_S - 1, RECEIVED_S + 3))
ledgers = st.builds(
    Ledger,
    received_s=st.just(RECEIVED_S),
    objective_s=st.floats(0, 2),
    deadline_s=st.floats(0, 5),
    submitted_s=moments,
    claimed_s=moments,
    started_s=moments,
    computed_s=moments,
    replied_s=moments,
)


@given(ledgers, st.floats(0, 3))
def test_the_stages_add_up_to_the_total(ledger: Ledger, took_s: float) -> None:
    """Whatever is missing, and in whatever order a node's clock put its moments: nothing is lost or counted twice."""
    report = ledger.report(RECEIVED_S + took_s)
    assert len(report.stage_us) == len(budget_pb2.Stage.values()) - 1
    assert sum(report.stage_us) == report.total_us
    assert report.total_us == pytest.approx(took_s * 1e6, abs=1)


@given(ledgers, st.floats(0, 3))
def test_missed_is_what_the_numbers_say(ledger: Ledger, took_s: float) -> None:
    """A total over the objective, both as they are reported."""
    report = ledger.report(RECEIVED_S + took_s)
    assert report.missed == (report.total_us > report.objective_us)


def spent(ledger: Ledger, now_s: float) -> dict[str, int]:
    return dict(stages(ledger.report(now_s)))


def moments_of(**moments: float) -> Ledger:
    return Ledger(received_s=RECEIVED_S, objective_s=0.015, deadline_s=0.1, **moments)


def test_each_stage_lies_between_two_moments() -> None:
    """An undisturbed request: admitted, claimed, run, answered."""
    ledger = moments_of(
        submitted_s=1000.001, claimed_s=1000.003, started_s=1000.004, computed_s=1000.010, replied_s=1000.012
    )
    assert spent(ledger, 1000.0125) == pytest.approx(
        {"admit": 1000, "queue": 2000, "batch_wait": 1000, "compute": 6000, "link": 2000, "answer": 500}, abs=1
    )


def test_a_job_that_nobody_claimed_spent_it_all_in_the_queue() -> None:
    """A moment that never came leaves the stage before it going on until the end."""
    assert spent(moments_of(submitted_s=1000.001), 1000.1) == pytest.approx(
        {"admit": 1000, "queue": 99_000, "batch_wait": 0, "compute": 0, "link": 0, "answer": 0}, abs=1
    )


def test_a_nodes_clock_that_is_a_little_off_makes_no_time_negative() -> None:
    """A claim reported from before the submission counts as one at the submission."""
    ledger = moments_of(
        submitted_s=1000.002, claimed_s=1000.001, started_s=1000.003, computed_s=1000.009, replied_s=1000.008
    )
    assert spent(ledger, 1000.010) == pytest.approx(
        {"admit": 2000, "queue": 0, "batch_wait": 1000, "compute": 6000, "link": 0, "answer": 1000}, abs=1
    )


def test_the_batch_is_told_only_where_there_was_one() -> None:
    """A request that never ran has none in its report."""
    assert not moments_of().report(1000.1).HasField("batch")
    ran = moments_of()
    ran.batch = budget_pb2.BatchInfo(jobs=3, units=9, closed_by="full")
    assert ran.report(1000.1).batch.jobs == 3


def test_the_longest_deadline_there_can_be_fits_the_report() -> None:
    """An hour, which is as much as the configuration takes, in 32 bits of microseconds."""
    assert moments_of().report(RECEIVED_S + 3600).total_us == 3_600_000_000
