"""Deadline: a moment that is passed on."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from isochrone.deadline import Deadline, monotonic

moments = st.floats(-1e6, 1e6)
spans = st.floats(0, 1e6)


@given(moments, spans)
def test_what_remains_is_what_was_given_at_first(now_s: float, timeout_s: float) -> None:
    """A deadline made now leaves its timeout, and has passed once that has."""
    deadline = Deadline.after(timeout_s, now_s=now_s)
    assert math.isclose(deadline.remaining_s(now_s), timeout_s, abs_tol=1e-9)
    assert deadline.has_passed(deadline.at_s)
    assert not deadline.has_passed(math.nextafter(deadline.at_s, -math.inf))


@given(moments)
def test_never_does_not_come(now_s: float) -> None:
    """An infinite timeout leaves infinitely much, always."""
    assert Deadline.after(math.inf, now_s=now_s) == Deadline.never()
    assert not Deadline.never().has_passed(now_s)
    assert Deadline.never().remaining_s(now_s) == math.inf


@given(moments, moments)
def test_the_earlier_of_two_is_the_one_that_counts(one_s: float, other_s: float) -> None:
    """Deadlines are ordered as their moments are."""
    one, other = Deadline(one_s), Deadline(other_s)
    assert one.earlier(other) == other.earlier(one) == min(one, other) == Deadline(min(one_s, other_s))


@given(moments, spans)
def test_a_margin_brings_it_forward(at_s: float, by_s: float) -> None:
    """What must arrive in time has to leave before."""
    assert Deadline(at_s).brought_forward(by_s) == Deadline(at_s - by_s)


def test_the_clock_runs_forward() -> None:
    """`monotonic` is no wall clock and never steps back."""
    assert monotonic() <= monotonic()
