"""Wire: fields of an encoded message, found and renumbered without knowing its type."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.v1 import link_pb2, recsys_pb2
from isochrone_router.wire import WireError, moved, records

numbers = st.lists(st.integers(0, 2**32 - 1), max_size=50)


@given(numbers, st.lists(st.floats(width=32, allow_nan=False), max_size=50), st.text(max_size=20))
def test_a_field_goes_into_another_message_as_it_is(items: Any, scores: Any, variant: str) -> None:
    """The ids that one model ranked are another's candidates: nobody has to know either message."""
    answer = recsys_pb2.RankResponse(item_ids=items, scores=scores, variant=variant).SerializeToString()
    request = recsys_pb2.RankRequest(top_k=3, item_ids=[7]).SerializeToString()
    both = recsys_pb2.RankRequest.FromString(request + moved(answer, field=1, to=2))
    assert (both.top_k, list(both.item_ids)) == (3, [7, *items])


@given(st.integers(0, 2**64 - 1), st.binary(max_size=300), st.integers(-(2**63), 2**63 - 1))
def test_the_records_are_the_message(router: int, payload: bytes, deadline_us: int) -> None:
    """Of every wire type; put together again they are what they were."""
    job = link_pb2.Job(router=router, payload=payload, deadline_us=deadline_us, lane="a@cpu")
    message = job.SerializeToString()
    fields = {number for number, _, _ in records(message)}
    assert link_pb2.Job.FromString(b"".join(moved(message, field=field, to=field) for field in sorted(fields))) == job


@given(st.binary(max_size=200))
def test_anything_else_is_refused_or_read_to_its_end(data: bytes) -> None:
    """Never past it, and never for ever."""
    with suppress(WireError):
        assert sum(len(value) for _, _, value in records(data)) <= len(data)


@pytest.mark.parametrize("data", [b"\x08", b"\x0a\x05abc", b"\x0b", b"\x00\x01", b"\xff" * 11, b"\x0d\x01\x02"])
def test_a_message_that_is_cut_off_is_refused(data: bytes) -> None:
    """A tag without its value, a length past the end, a wire type that nobody has, field 0."""
    with pytest.raises(WireError):
        list(records(data))
