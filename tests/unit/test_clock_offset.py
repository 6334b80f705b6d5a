"""ClockOffset: what another process's clock shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.link.clock import KEPT, ClockOffset

offsets = st.floats(-1e5, 1e5)
delays = st.floats(0.00005, 0.5)
pings = st.lists(st.tuples(delays, delays), min_size=1, max_size=40)


def ping(clock: ClockOffset, at_s: float, *, offset_s: float, there_s: float, back_s: float) -> None:
    """One ping of a clock that is `offset_s` ahead, over a way that takes that long in each direction."""
    clock.observe(sent_s=at_s, received_s=at_s + there_s + back_s, theirs_s=at_s + there_s + offset_s)


@given(offsets, pings)
def test_the_error_is_at_most_half_the_best_round_trip(offset_s: float, ways: list[tuple[float, float]]) -> None:
    """However lopsided the ways, and however slow most pings are."""
    clock = ClockOffset()
    for index, (there_s, back_s) in enumerate(ways):
        ping(clock, float(index), offset_s=offset_s, there_s=there_s, back_s=back_s)
    best_s = min(there_s + back_s for there_s, back_s in ways[-KEPT:])
    assert clock.round_trip_s == pytest.approx(best_s, abs=1e-9)
    assert abs(clock.offset_s - offset_s) <= best_s / 2 + 1e-6


@given(offsets, st.floats(0, 1e6))
def test_moments_go_there_and_back(offset_s: float, moment_s: float) -> None:
    """Translating to their clock and to ours again changes nothing."""
    clock = ClockOffset()
    ping(clock, 5.0, offset_s=offset_s, there_s=0.001, back_s=0.001)
    assert clock.to_ours(clock.to_theirs(moment_s)) == pytest.approx(moment_s, abs=1e-6)


def test_a_first_guess_counts_until_a_ping_tells_better() -> None:
    """The hello's own time stands in, and is forgotten with the first answer."""
    clock = ClockOffset()
    clock.assume(now_s=10.0, theirs_s=510.2)
    assert clock.offset_s == pytest.approx(500.2)
    ping(clock, 11.0, offset_s=500.0, there_s=0.001, back_s=0.001)
    assert clock.offset_s == pytest.approx(500.0)
    clock.assume(now_s=20.0, theirs_s=999.0)
    assert clock.offset_s == pytest.approx(500.0)


def test_old_pings_are_forgotten() -> None:
    """A drifting clock is followed: the luckiest ping of the last few counts, not the luckiest ever."""
    clock = ClockOffset()
    ping(clock, 0.0, offset_s=1.0, there_s=0.00001, back_s=0.00001)
    for index in range(KEPT):
        ping(clock, 1.0 + index, offset_s=1.5, there_s=0.01, back_s=0.01)
    assert clock.offset_s == pytest.approx(1.5)
