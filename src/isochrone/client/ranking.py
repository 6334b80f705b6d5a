"""What a ranking takes and gives, and its two translations to and from the wire."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from isochrone.client.budget import Budget
from isochrone.client.fields import extend, fill, parsed
from isochrone.client.transport import Answer
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
        extend(request.user.dense, "user.dense", user.dense)
        extend(request.user.categories, "user.categories", user.categories)
        extend(request.user.recent_items, "user.recent_items", user.recent_items)
    extend(request.item_ids, "item_ids", item_ids)
    fill(request, top_k=top_k)
    return request.SerializeToString()


def ranking_of(answer: Answer) -> Ranking:
    """The ranking in an answer. Raises Internal where its bytes are something else."""
    response = parsed(recsys_pb2.RankResponse, answer.payload)
    return Ranking(tuple(response.item_ids), tuple(response.scores), response.variant, answer.budget)
