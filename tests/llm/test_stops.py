"""A text ends before its first stop string, wherever the pieces that it comes in are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isochrone_llm.stops import StopStrings

TEXTS = st.text(alphabet="ab.")
STOPS = st.lists(st.text(alphabet="ab.", min_size=1, max_size=4), max_size=4)


def ended(text: str, stops: list[str]) -> str | None:
    """The text before the stop string that is complete first, letter by letter; None where there is none."""
    for end in range(len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - max(map(len, found))]
    return None


@given(pieces=st.lists(TEXTS), stops=STOPS)
def test_pieces_do_not_matter(pieces: list[str], stops: list[str]) -> None:
    """The same text is said, and the same stop found, as if it came letter by letter."""
    watch = StopStrings(stops)
    said = ""
    for piece in pieces:
        said += watch.push(piece)
        if watch.found:
            break
    text = "".join(pieces)
    expected = ended(text, stops)
    assert watch.found == (expected is not None)
    assert said + watch.flush() == (text if expected is None else expected)


@given(text=TEXTS, stops=STOPS)
def test_nothing_is_held_back_for_long(text: str, stops: list[str]) -> None:
    """What is held is shorter than the longest stop string; without stop strings it is nothing."""
    watch = StopStrings(stops)
    watch.push(text)
    assert len(watch.flush()) < max(map(len, stops), default=1)


def test_what_may_be_a_beginning_is_held_back() -> None:
    """Until it turns out to be one, or not to be."""
    watch = StopStrings([" END"])
    pieces = ("the E", "N", "t, the", " ", "EN", "D. And")
    assert [watch.push(piece) for piece in pieces] == ["the", "", " ENt, the", "", "", ""]
    assert watch.found
