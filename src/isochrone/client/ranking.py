"""What a ranking takes and gives, and its two translations to and from the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.message import DecodeError
from google.rpc import code_pb2

from isochrone.client.budget import Budget
from isochrone.client.transport import Answer
from isochrone.errors import InvalidRequest
from isochrone.status import from_code
from isochrone.v1 import recsys_pb2

RANK = "isochrone.v1.Recsys/Rank"


@dataclass(frozen=True, slots=True)
class User:
    """Who the candidates are ranked for. How many features there are is the model's to say."""

    dense: Sequence[float]
    categories: Sequence[int]
    """One value for each categorical feature, below its cardinality."""
    recent_items: Sequence[int] = field(default=())
    """Item ids, latest first; may be empty; the first 20 count."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates by relevance."""

    item_ids: tuple[int, ...]
    """Highest score first."""
    scores: tuple[float, ...]
    """Probability of a click, one for each item id."""
    variant: str
    """The model variant that scored them."""
    budget: Budget | None
    """Where the time went; None where the server did not say."""


def rank_request(user: User | recsys_pb2.User, item_ids: Iterable[int], *, top_k: int) -> bytes:
    """A RankRequest's bytes. Raises InvalidRequest naming the field whose values don't fit the wire."""
    request = recsys_pb2.RankRequest()
    if isinstance(user, recsys_pb2.User):
        request.user.CopyFrom(user)
    else:
        _extend(request.user.dense, "user.dense", user.dense)
        _extend(request.user.categories, "user.categories", user.categories)
        _extend(request.user.recent_items, "user.recent_items", user.recent_items)
    _extend(request.item_ids, "item_ids", item_ids)
    try:
        request.top_k = top_k
    except (TypeError, ValueError) as error:
        raise InvalidRequest.of("top_k", str(error)) from error
    return request.SerializeToString()


def ranking_of(answer: Answer) -> Ranking:
    """The ranking in an answer. Raises Internal where its bytes are something else."""
    try:
        response = recsys_pb2.RankResponse.FromString(answer.payload)
    except DecodeError as error:
        raise from_code(code_pb2.INTERNAL, f"the answer is not a RankResponse: {error}") from error
    return Ranking(tuple(response.item_ids), tuple(response.scores), response.variant, answer.budget)


def _extend(into: Any, name: str, values: Iterable[Any]) -> None:
    """Appends to a repeated field; protobuf itself checks types and ranges, but names no field."""
    try:
        into.extend(values)
    except (TypeError, ValueError) as error:
        raise InvalidRequest.of(name, str(error)) from error
