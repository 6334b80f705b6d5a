"""The generated clickstream: who came, what they were shown, what they clicked, and how likely that was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from isochrone_recsys.build import vocabulary
from isochrone_recsys.build.items import TASTES, Floats, Indices, Items

USER_DENSE = 8
USER_CARDINALITIES = (12, 3, 16, 7)
"""Values that each categorical feature of a visitor takes: country, device, segment, age band."""
RECENT_ITEMS = 20
BASE_LOG_ODDS = -1.6
"""Sets the click rate of what is seen at about one in six, so that clicks are neither rare nor common."""
_BROWSED = 48
"""Items a visitor came across before this visit; the recent ones are those they liked best."""
_CHUNK = 4096


@dataclass(frozen=True, slots=True)
class Visits:
    """v visits, each showing a slate of s items to one visitor. An index of n, the catalogue's size, is none."""

    dense: Floats
    """[v, USER_DENSE], mean about 0, spread about 1."""
    categories: Indices
    """[v, 4], each below its USER_CARDINALITIES."""
    recent: Indices
    """[v, RECENT_ITEMS] item indices, latest first, padded with n."""
    slate: Indices
    """[v, s] item indices."""
    probability: Floats
    """[v, s] of a click, given the visitor and the item but not where on the page it was shown."""
    clicked: npt.NDArray[np.bool_]
    """[v, s]."""

    def __len__(self) -> int:
        return len(self.dense)

    def head(self, count: int) -> Visits:
        """The first `count` of them, or all."""
        return Visits(*(getattr(self, field.name)[:count] for field in fields(self)))


class Shoppers:
    """The visitors of the shop: how they come about and what they would click.

    Their preferences are partly seen (noisily, in their features and recent items) and partly not, so that
    no model can reach the oracle, which knows them.
    """

    def __init__(self, items: Items, rng: np.random.Generator) -> None:
        self._items = items
        countries, devices, segments, age_bands = USER_CARDINALITIES
        self._segment_taste = rng.normal(size=(segments, TASTES))
        self._age_taste = 0.6 * rng.normal(size=(age_bands, TASTES))
        self._segment_means = 0.6 * rng.normal(size=(segments, 3))
        self._country_means = 0.4 * rng.normal(size=(countries, 3))
        self._device_department = 0.4 * rng.normal(size=(devices, len(vocabulary.DEPARTMENTS)))
        self._by_kind = np.argsort(items.kinds, kind="stable")
        self._kind_start = np.searchsorted(items.kinds[self._by_kind], np.arange(len(vocabulary.KINDS) + 1))
        self._exposed = np.cumsum(items.exposure)

    def visits(
        self, count: int, *, slate: int, rng: np.random.Generator, advance: Callable[[int], object] = lambda n: None
    ) -> Visits:
        """`count` visits with `slate` items each; `advance` is told of visits as they are made."""
        chunks: list[Visits] = []
        for start in range(0, count, _CHUNK):
            chunks.append(self._chunk(min(_CHUNK, count - start), slate, rng))
            advance(len(chunks[-1]))
        return Visits(*(np.concatenate([getattr(c, f.name) for c in chunks]) for f in fields(Visits)))

    def _chunk(self, count: int, slate: int, rng: np.random.Generator) -> Visits:
        items = self._items
        categories = np.stack([rng.integers(n, size=count) for n in USER_CARDINALITIES], axis=1)
        country, device, segment, age_band = categories.T
        taste = self._segment_taste[segment] + self._age_taste[age_band] + 0.3 * rng.normal(size=(count, TASTES))
        taste /= np.linalg.norm(taste, axis=1, keepdims=True)
        # How dear, how reduced and how new they like things.
        wants = self._segment_means[segment] + self._country_means[country] + 0.3 * rng.normal(size=(count, 3))
        activity = rng.normal(size=count)
        hour = rng.uniform(0, 2 * np.pi, size=count)
        dense = np.column_stack(
            [
                wants + 0.2 * rng.normal(size=(count, 3)),
                2 * taste[:, :2] + 0.5 * rng.normal(size=(count, 2)),
                activity,
                np.sqrt(2) * np.sin(hour),
                np.sqrt(2) * np.cos(hour),
            ]
        )

        recent = self._recent(taste, wants, rng)
        shown = self._slates(recent, slate, rng)
        log_odds = (
            BASE_LOG_ODDS
            + 0.3 * activity[:, None]
            + items.appeal[shown]
            + 2.4 * _dots(items.taste, taste, shown)
            + self._interest(recent, shown)
            - 0.6 * np.minimum(np.abs(items.dense[shown, 0] - wants[:, :1]), 2.5)
            + 0.4 * wants[:, 1:2] * items.dense[shown, 3]
            - 0.4 * wants[:, 2:3] * items.dense[shown, 1]
            + self._device_department[device[:, None], items.department[shown]]
        )
        relevant = 1 / (1 + np.exp(-log_odds))
        # Where an item stands on the page decides whether it is looked at at all: noise, to a ranker.
        looked_at = 1 / (1 + 0.06 * np.arange(slate))
        return Visits(
            dense=dense.astype(np.float32),
            categories=categories,
            recent=recent,
            slate=shown,
            probability=(relevant * looked_at.mean()).astype(np.float32),
            clicked=rng.random(shown.shape) < relevant * looked_at,
        )

    def _shown_anyway(self, shape: tuple[int, ...], rng: np.random.Generator) -> Indices:
        """Item indices of the given shape, as often as the shop shows them to everybody."""
        return np.minimum(np.searchsorted(self._exposed, rng.random(shape)), len(self._items) - 1)

    def _recent(
        self, taste: npt.NDArray[np.float64], wants: npt.NDArray[np.float64], rng: np.random.Generator
    ) -> Indices:
        """[v, RECENT_ITEMS]: of what each visitor came across, what they liked; one in twelve is new here."""
        items = self._items
        browsed = self._shown_anyway((len(taste), _BROWSED), rng)
        liking = (
            4.0 * _dots(items.taste, taste, browsed)
            - 0.6 * np.abs(items.dense[browsed, 0] - wants[:, :1])
            + rng.gumbel(size=browsed.shape)
        )
        best = np.argsort(-liking, axis=1)[:, :RECENT_ITEMS]
        recent = np.take_along_axis(browsed, rng.permuted(best, axis=1), axis=1)
        counts = np.minimum(1 + rng.geometric(1 / 12, size=len(taste)), RECENT_ITEMS)
        counts[rng.random(len(taste)) < 1 / 12] = 0
        recent[np.arange(RECENT_ITEMS) >= counts[:, None]] = len(items)
        return recent

    def _slates(self, recent: Indices, slate: int, rng: np.random.Generator) -> Indices:
        """[v, slate]: half what is shown to everybody, half of the kinds looked at of late, in random order."""
        items = self._items
        shown = self._shown_anyway((len(recent), slate), rng)
        seed = recent[np.arange(len(recent))[:, None], rng.integers(RECENT_ITEMS, size=(len(recent), slate // 2))]
        kind = items.kinds[np.where(seed < len(items), seed, shown[:, : slate // 2])]
        start, end = self._kind_start[kind], self._kind_start[kind + 1]
        shown[:, : slate // 2] = self._by_kind[start + (rng.random(kind.shape) * (end - start)).astype(np.int64)]
        return rng.permuted(shown, axis=1)

    def _interest(self, recent: Indices, shown: Indices) -> npt.NDArray[np.float64]:
        """[v, s] log-odds from what was looked at of late: its taste (saturating), its kinds and brands."""
        items = self._items
        present = recent < len(items)
        known = np.where(present, recent, 0)
        count = np.maximum(present.sum(axis=1), 1)
        mean_taste = (items.taste[known] * present[:, :, None]).sum(axis=1) / count[:, None]
        kind = np.where(present, items.kinds[known], -1)
        brand = np.where(present, items.categories[known, 1], -1)
        same_kind = (items.kinds[shown][:, :, None] == kind[:, None, :]).any(axis=2)
        same_brand = (items.categories[shown, 1][:, :, None] == brand[:, None, :]).any(axis=2)
        log_odds: npt.NDArray[np.float64] = np.tanh(3 * _dots(items.taste, mean_taste, shown))
        log_odds += 0.5 * same_kind + 0.4 * same_brand
        return log_odds


def _dots(item_taste: Floats, taste: npt.NDArray[np.floating], shown: Indices) -> npt.NDArray[np.float64]:
    """[v, s] inner products of each visitor's taste [v, TASTES] with that of the items shown to them."""
    products: npt.NDArray[np.float64] = np.einsum("vk,vsk->vs", taste, item_taste[shown], dtype=np.float64)
    return products
