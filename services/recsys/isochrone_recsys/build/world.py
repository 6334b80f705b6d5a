"""The generated shop: its items, what each item's history shows, and logs of visits to learn and to judge from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isochrone_recsys.build.items import ITEM_CARDINALITIES, Floats, Items, generate_items
from isochrone_recsys.build.recipe import Recipe
from isochrone_recsys.build.visits import RECENT_ITEMS, USER_CARDINALITIES, USER_DENSE, Shoppers, Visits
from isochrone_recsys.manifest import Shapes

_PRIOR_VIEWS = 20
"""Click rates count as many views at the mean rate besides those seen, so that few views say little."""


@dataclass(frozen=True, slots=True)
class World:
    """Everything a build learns from. The same for the same recipe."""

    items: Items
    item_dense: Floats
    """[n, 6], the items' dense features: their own four, and log click rate and log views of the past."""
    train: Visits
    held_out: Visits
    """By other visitors."""
    popularity: npt.NDArray[np.float64]
    """[n], each item's click rate over everybody, in training."""

    @property
    def shapes(self) -> Shapes:
        return Shapes(
            items=len(self.items),
            user_dense=USER_DENSE,
            user_categories=USER_CARDINALITIES,
            recent_items=RECENT_ITEMS,
            item_dense=self.item_dense.shape[1],
            item_categories=ITEM_CARDINALITIES,
        )


def generate_world(recipe: Recipe, *, advance: Callable[[int], object] = lambda visits: None) -> World:
    """The recipe's world; `advance` is told of visits as they are made, `visits_in(recipe)` in all."""
    # A generator for each part, so that changing the size of one leaves the others as they were.
    of_items, of_shoppers, of_past, of_train, of_held_out = np.random.default_rng(recipe.seed).spawn(5)
    items = generate_items(recipe.items, of_items)
    shoppers = Shoppers(items, of_shoppers)
    past = shoppers.visits(recipe.past_visits, slate=recipe.slate, rng=of_past, advance=advance)
    train = shoppers.visits(recipe.train_visits, slate=recipe.slate, rng=of_train, advance=advance)
    held_out = shoppers.visits(recipe.held_out_visits, slate=recipe.slate, rng=of_held_out, advance=advance)
    rate, views = _click_rates(past, len(items))
    history = np.stack([np.log(rate), np.log1p(views)], axis=1)
    history = (history - history.mean(axis=0)) / history.std(axis=0)
    return World(
        items=items,
        item_dense=np.concatenate([items.dense, history], axis=1).astype(np.float32),
        train=train,
        held_out=held_out,
        popularity=_click_rates(train, len(items))[0],
    )


def visits_in(recipe: Recipe) -> int:
    return recipe.past_visits + recipe.train_visits + recipe.held_out_visits


def _click_rates(visits: Visits, items: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """[n] click rates, drawn towards the mean where views are few, and [n] views."""
    shown = visits.slate.ravel()
    views = np.bincount(shown, minlength=items)
    clicks = np.bincount(shown, weights=visits.clicked.ravel(), minlength=items)
    return (clicks + _PRIOR_VIEWS * visits.clicked.mean()) / (views + _PRIOR_VIEWS), views
