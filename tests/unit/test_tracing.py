"""A request's place in its trace: W3C Trace Context in and out, and a decision that every process comes to alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.tracing import Sampler, SpanContext, new_span_id, new_trace_id, parse

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
contexts = st.builds(SpanContext, st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())


@given(contexts)
def test_what_is_written_can_be_read(context: SpanContext) -> None:
    """Ids of any size, with their zeros."""
    assert parse(str(context)) == context


@given(st.text(max_size=60))
def test_nothing_breaks_it(text: str) -> None:
    """Whatever a caller sends: it is a traceparent, or it is ignored."""
    assert parse(text) is None or text.count("-") >= 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        CALLER.upper(),
        CALLER + "-more",
        "ff" + CALLER[2:],
        "00-" + "0" * 32 + CALLER[35:],
        CALLER[:36] + "0" * 16 + "-01",
        CALLER + "\n",
        CALLER[:-2] + "0g",
    ],
)
def test_what_the_standard_calls_invalid_is_ignored(text: str) -> None:
    """Then the request begins a trace of its own."""
    assert parse(text) is None
    assert Sampler(1).place(text).parent_id == 0


def test_a_version_yet_to_come_is_read_as_far_as_it_is_known() -> None:
    """With more behind it, and flags that are not known here."""
    assert parse("01-" + CALLER[3:-2] + "ff-what-is-new") == parse(CALLER)


@pytest.mark.parametrize("fraction", [0.0, 1.0])
@pytest.mark.parametrize("flag", [True, False])
def test_the_callers_decision_holds(fraction: float, flag: bool) -> None:
    """Whatever would be decided here."""
    place = Sampler(fraction).place(CALLER[:-1] + str(int(flag)), "a=b")
    assert (place.span.is_sampled, place.parent_id, place.tracestate) == (flag, 0x00F067AA0BA902B7, "a=b")
    assert place.span.trace_id == 0x4BF92F3577B34DA6A3CE929D0E0E4736
    assert place.span.span_id != place.parent_id


@given(st.integers(1, 2**128 - 1), st.floats(0, 1), st.floats(0, 1))
def test_who_keeps_fewer_keeps_none_that_others_drop(trace_id: int, one: float, other: float) -> None:
    """The number decides, so processes with different fractions still tell whole stories."""
    assert Sampler(min(one, other)).keeps(trace_id) <= Sampler(max(one, other)).keeps(trace_id)


def test_about_the_fraction_is_kept() -> None:
    """Of traces that begin here; none of nothing, all of everything."""
    for fraction, least, most in ((0.0, 0, 0), (0.1, 800, 1200), (1.0, 10_000, 10_000)):
        kept = sum(Sampler(fraction).place().span.is_sampled for _ in range(10_000))
        assert least <= kept <= most


def test_ids_are_never_zero_nor_twice_the_same() -> None:
    """A zero would make them invalid."""
    assert all(len({make() for _ in range(10_000)} - {0}) == 10_000 for make in (new_trace_id, new_span_id))
