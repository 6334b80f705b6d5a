"""Requests are checked before they are queued, and whoever sent a wrong one is told where it is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isochrone.errors import InvalidRequest
from isochrone.v1.recsys_pb2 import RankRequest, User
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.model import RANK, Ranker
from isochrone_recsys.query import Query

Change = Callable[[RankRequest], object]


def decode(ranker: Ranker, request: RankRequest) -> Query:
    query: Query = ranker.decode(RANK, request.SerializeToString())
    return query


def test_query_holds_indices_in_the_order_of_the_request(
    ranker: Ranker, catalogue: Catalogue, request_: RankRequest
) -> None:
    """A candidate's index is its place in the catalogue."""
    request_.top_k = 2
    query = decode(ranker, request_)
    assert query.items.tolist() == [100, 200, 300, 400]
    assert query.recent.tolist() == [10, 11, 12]
    assert (query.dense, query.categories, query.top_k) == ([0.5] * 8, [11, 2, 15, 6], 2)
    assert ranker.weigh(query) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.ClearField("user"), "user.dense: 0 features; the model has 8"),
        (lambda r: r.user.dense.append(1), "user.dense: 9 features; the model has 8"),
        (lambda r: r.user.dense.__setitem__(3, math.nan), "user.dense[3]: nan is not a finite number"),
        (lambda r: r.user.dense.__setitem__(0, math.inf), "user.dense[0]: inf is not a finite number"),
        (lambda r: r.user.dense.__setitem__(7, -math.inf), "user.dense[7]: -inf is not a finite number"),
        (lambda r: r.user.categories.pop(), "user.categories: 3 features; the model has 4"),
        (lambda r: r.user.categories.append(0), "user.categories: 5 features; the model has 4"),
        (
            lambda r: r.user.categories.__setitem__(1, 3),
            "user.categories[1]: 3 is not below the feature's 3 values",
        ),
        (
            lambda r: r.user.categories.__setitem__(2, 2**32 - 1),
            "user.categories[2]: 4294967295 is not below the feature's 16 values",
        ),
        (lambda r: r.user.recent_items.append(7), "user.recent_items[3]: 7 is not in the catalogue"),
        (lambda r: r.ClearField("item_ids"), "item_ids: 0 candidates; there must be 1 to 1,000"),
        (lambda r: r.item_ids.extend([r.item_ids[0]] * 997), "item_ids: 1,001 candidates; there must be 1 to 1,000"),
        (lambda r: r.item_ids.__setitem__(2, 99_999), "item_ids[2]: 99999 is not in the catalogue"),
        (lambda r: r.item_ids.__setitem__(0, 2**32 - 1), "item_ids[0]: 4294967295 is not in the catalogue"),
        (
            lambda r: r.item_ids.extend([r.item_ids[0]] * 900 + [0, 1]),
            "item_ids[904]: 0 is not in the catalogue",
        ),
    ],
)
def test_wrong_field_is_named(ranker: Ranker, request_: RankRequest, change: Change, message: str) -> None:
    """The error says which field is wrong, where in it, and what would be right."""
    change(request_)
    with pytest.raises(InvalidRequest) as caught:
        decode(ranker, request_)
    assert caught.value.message == message
    assert [violation.field for violation in caught.value.violations] == [message.partition(":")[0]]


def test_malformed_bytes_are_the_requests_fault(ranker: Ranker) -> None:
    """What isn't a protobuf is told so, without its text."""
    with pytest.raises(InvalidRequest, match="request: not a RankRequest") as caught:
        ranker.decode(RANK, b"\x0a\xff secret")
    assert "secret" not in str(caught.value)


def test_only_the_first_20_recent_items_count(ranker: Ranker, catalogue: Catalogue, request_: RankRequest) -> None:
    """Whatever stands behind them isn't looked at, be it in the catalogue or not."""
    request_.user.recent_items[:] = [*catalogue.ids[:20].tolist(), 7]
    assert decode(ranker, request_).recent.tolist() == list(range(20))


def test_new_visitor_has_no_recent_items(ranker: Ranker, request_: RankRequest) -> None:
    """Recent items may be empty."""
    request_.user.ClearField("recent_items")
    assert decode(ranker, request_).recent.tolist() == []


@pytest.mark.parametrize("count", [1, 39, 40, 1000])
def test_candidates_may_repeat(ranker: Ranker, request_: RankRequest, count: int) -> None:
    """Up to 1,000 candidates, the same one as often as the caller likes."""
    request_.item_ids[:] = [request_.item_ids[1]] * count
    assert decode(ranker, request_).items.tolist() == [200] * count


@settings(deadline=None)  # the machine may be busy
@given(payload=st.binary(max_size=200))
def test_no_bytes_are_worse_than_an_invalid_request(ranker: Ranker, payload: bytes) -> None:
    """Arbitrary bytes are a query or an InvalidRequest, and never another error."""
    with suppress(InvalidRequest):
        assert isinstance(ranker.decode(RANK, payload), Query)


@settings(deadline=None)  # the machine may be busy
@given(
    dense=st.lists(st.floats(width=32), min_size=7, max_size=9),
    categories=st.lists(st.integers(0, 20), min_size=3, max_size=5),
    places=st.lists(st.integers(0, 600), max_size=60),
    top_k=st.integers(0, 2**32 - 1),
)
def test_what_is_decoded_can_be_scored(
    ranker: Ranker, catalogue: Catalogue, dense: list[float], categories: list[int], places: list[int], top_k: int
) -> None:
    """Whatever passes the reader gets probabilities: absurd features, too."""
    ids = [int(catalogue.ids[place]) if place < 600 else 1 for place in places]
    user = User(dense=dense, categories=categories, recent_items=ids[1:])
    try:
        query = decode(ranker, RankRequest(user=user, item_ids=ids, top_k=top_k))
    except InvalidRequest:
        return
    (scores,) = ranker.forward([query])
    assert len(scores) == len(ids)
    assert ((scores >= 0) & (scores <= 1)).all()
