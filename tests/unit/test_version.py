"""Versions of the link, and how two ends agree on one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.link import version


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """This end speaks 2 to 4."""
    monkeypatch.setattr(version, "OLDEST", 2)
    monkeypatch.setattr(version, "NEWEST", 4)


@pytest.mark.parametrize(
    ("theirs", "chosen"),
    [
        ((2, 4), 4),  # the same
        ((1, 3), 3),  # they are older
        ((1, 2), 2),  # as old as can be
        ((3, 9), 4),  # they are newer
        ((4, 9), 4),
        ((1, 1), None),  # too old
        ((5, 9), None),  # too new
        ((0, 0), None),  # says nothing
    ],
)
def test_the_newest_that_both_speak_is_chosen(theirs: tuple[int, int], chosen: int | None) -> None:
    """Where there is none, the link is refused."""
    assert version.agreed(*theirs) == chosen


def test_a_refusal_says_who_has_to_be_upgraded() -> None:
    """With both ends' versions, so that an operator need not look them up."""
    words = version.refusal("the router", 5, 9)
    assert words == "the router speaks link versions 5 to 9, this end 2 to 4: upgrade the older"


@given(st.integers(0, 10), st.integers(0, 10))
def test_what_is_agreed_both_ends_speak(low: int, high: int) -> None:
    """Never a version that one of them does not know."""
    chosen = version.agreed(low, high)
    common = set(range(low, high + 1)) & {2, 3, 4}
    assert chosen == max(common, default=None)
