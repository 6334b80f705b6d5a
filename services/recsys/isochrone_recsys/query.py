"""A rank request as the model wants it, and the reader that checks requests on their way in.

The reader runs on the node's event loop for every request, so it works on whole arrays and looks for which
element is wrong only once it knows that one is.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from google.protobuf.message import DecodeError

from isochrone.errors import InvalidRequest
from isochrone.v1 import recsys_pb2
from isochrone_recsys.catalogue import UNKNOWN, Catalogue
from isochrone_recsys.manifest import Shapes

MAX_CANDIDATES = 1000
_FEW = 40
"""Up to here a repeated field becomes an array sooner by way of a list than by its __array__, which costs 3 µs."""


class Query(NamedTuple):
    """One user and n candidates, checked. A tuple, because one is made for every request."""

    dense: Sequence[float]
    """As many as the model has dense features, finite."""
    categories: Sequence[int]
    """As many as it has categorical features, each below its cardinality."""
    recent: npt.NDArray[np.int32]
    """[0 to `Shapes.recent_items`], item indices."""
    items: npt.NDArray[np.int32]
    """[n], indices of the candidates in the order they were asked in, at least one."""
    top_k: int
    """How many to answer with; 0: all of them."""


class QueryReader:
    """Turns the bytes of RankRequests into queries."""

    def __init__(self, shapes: Shapes, catalogue: Catalogue) -> None:
        self._shapes = shapes
        self._catalogue = catalogue

    def read(self, payload: bytes) -> Query:
        """The query in a serialised RankRequest. Raises InvalidRequest naming the field that is wrong."""
        try:
            request = recsys_pb2.RankRequest.FromString(payload)
        except DecodeError as error:
            raise InvalidRequest.of("request", "not a RankRequest: its bytes can't be parsed") from error
        user = request.user
        dense = user.dense[:]
        # A sum of 32-bit floats in 64 bits can't overflow: it is finite exactly if every one of them is.
        if len(dense) != self._shapes.user_dense or not math.isfinite(sum(dense)):
            raise self._wrong_dense(dense)
        categories = user.categories[:]
        if len(categories) != len(self._shapes.user_categories) or any(
            map(operator.ge, categories, self._shapes.user_categories)
        ):
            raise self._wrong_categories(categories)
        count = len(request.item_ids)
        if not 1 <= count <= MAX_CANDIDATES:
            raise InvalidRequest.of("item_ids", f"{count:,} candidates; there must be 1 to {MAX_CANDIDATES:,}")
        recent = user.recent_items[: self._shapes.recent_items]
        # One array for both, one look-up, one check: each costs a microsecond however short the array is.
        if count < _FEW:
            ids = np.array(recent + request.item_ids[:], np.uint32)
        else:
            ids = np.concatenate((np.array(recent, np.uint32), np.asarray(request.item_ids, np.uint32)))
        indices = self._catalogue.indices(ids)
        if indices.min() == UNKNOWN:
            raise _unknown(ids, int(indices.argmin()), recents=len(recent))
        return Query(dense, categories, indices[: len(recent)], indices[len(recent) :], request.top_k)

    def _wrong_dense(self, dense: Sequence[float]) -> InvalidRequest:
        expected = self._shapes.user_dense
        if len(dense) != expected:
            return InvalidRequest.of("user.dense", f"{len(dense)} features; the model has {expected}")
        place = next(k for k, value in enumerate(dense) if not math.isfinite(value))
        return InvalidRequest.of(f"user.dense[{place}]", f"{dense[place]} is not a finite number")

    def _wrong_categories(self, categories: Sequence[int]) -> InvalidRequest:
        expected = self._shapes.user_categories
        if len(categories) != len(expected):
            return InvalidRequest.of("user.categories", f"{len(categories)} features; the model has {len(expected)}")
        place = next(k for k, value in enumerate(categories) if value >= expected[k])
        return InvalidRequest.of(
            f"user.categories[{place}]", f"{categories[place]} is not below the feature's {expected[place]} values"
        )


def _unknown(ids: npt.NDArray[np.uint32], place: int, *, recents: int) -> InvalidRequest:
    """For the id at `place` in the request's recent items, of which there are `recents`, and then candidates."""
    field = f"user.recent_items[{place}]" if place < recents else f"item_ids[{place - recents}]"
    return InvalidRequest.of(field, f"{ids[place]} is not in the catalogue")
