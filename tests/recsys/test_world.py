"""The generated shop is the same for the same recipe, and its clicks follow its true probabilities."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from isochrone.building.making import BuildFailed
from isochrone_recsys.build.evaluation import Evaluation, auc
from isochrone_recsys.build.recipe import Bar, Recipe
from isochrone_recsys.build.visits import USER_CARDINALITIES, Visits
from isochrone_recsys.build.world import World, generate_world, visits_in


@pytest.fixture(scope="module")
def world(tiny: Recipe) -> World:
    return generate_world(tiny)


def same(one: Visits, other: Visits) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(Visits))


def test_same_recipe_same_world(world: World, tiny: Recipe) -> None:
    """To the last click."""
    again = generate_world(tiny)
    assert same(again.train, world.train)
    assert same(again.held_out, world.held_out)
    assert again.items.titles == world.items.titles
    assert np.array_equal(again.item_dense, world.item_dense)


def test_another_seed_is_another_world(world: World, tiny: Recipe) -> None:
    assert not same(generate_world(replace(tiny, seed=1)).held_out, world.held_out)


def test_longer_training_is_judged_by_the_same_visits(world: World, tiny: Recipe) -> None:
    """So that recipes can be compared."""
    longer = generate_world(replace(tiny, train_visits=2 * tiny.train_visits))
    assert same(longer.held_out, world.held_out)


def test_progress_adds_up(tiny: Recipe) -> None:
    seen: list[int] = []
    generate_world(tiny, advance=seen.append)
    assert sum(seen) == visits_in(tiny)


def test_ids_are_sorted_and_sparse(world: World) -> None:
    """Looking an id up is real work: ids are no indices."""
    steps = np.diff(world.items.ids.astype(np.int64))
    assert steps.min() > 0
    assert np.median(steps) > 100


def test_features_are_in_their_ranges(world: World) -> None:
    """Categories are below their cardinalities, dense features of a spread of about 1, paddings past the items."""
    visits = world.train
    assert (visits.categories.max(axis=0) < USER_CARDINALITIES).all()
    assert np.isfinite(visits.dense).all()
    np.testing.assert_allclose(world.item_dense.std(axis=0), 1, atol=0.01)
    assert visits.recent.max() == len(world.items)
    assert visits.slate.max() < len(world.items)


def test_clicks_follow_the_true_probability(world: World) -> None:
    """In each fifth of the items shown, by probability, as many are clicked as it says."""
    visits = world.train
    for fifth in np.array_split(np.argsort(visits.probability.ravel()), 5):
        expected = visits.probability.ravel()[fifth].mean()
        error = np.sqrt(expected / len(fifth))
        assert abs(visits.clicked.ravel()[fifth].mean() - expected) < 4 * error


def test_oracle_beats_popularity_beats_chance(world: World) -> None:
    """There is something to learn about items, and more about who is asking."""
    shown, clicked = world.held_out.slate, world.held_out.clicked
    assert auc(world.held_out.probability, clicked) > auc(world.popularity[shown], clicked) + 0.1
    assert auc(world.popularity[shown], clicked) > 0.52


@pytest.mark.parametrize(
    ("scores", "clicked", "expected"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 1.0),
        ([4, 3, 2, 1], [0, 0, 1, 1], 0.0),
        ([1, 3, 2, 4], [0, 0, 1, 1], 0.75),
        ([5, 5, 5, 5], [0, 1, 0, 1], 0.5),
        ([1, 2, 2], [0, 0, 1], 0.75),
    ],
)
def test_auc_is_the_chance_of_a_right_order(scores: list[float], clicked: list[int], expected: float) -> None:
    """Of a clicked and an unclicked one, drawn at random; equal scores count half."""
    assert auc(np.array(scores, np.float32), np.array(clicked, bool)) == expected


def test_auc_needs_both(world: World) -> None:
    with pytest.raises(ValueError, match="both"):
        auc(np.array([1.0]), np.array([True]))


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        (Evaluation(model=0.75, oracle=0.80, popularity=0.60), "83.3% of the oracle's lift; the bar is 90%"),
        (Evaluation(model=0.79, oracle=0.80, popularity=0.70), "the bar is 0.10 above it"),
    ],
)
def test_model_below_its_bar_fails_the_build(evaluation: Evaluation, message: str) -> None:
    """In either way: too far below what is possible, or too near to what is trivial."""
    with pytest.raises(BuildFailed, match=message):
        evaluation.check(Bar(oracle_lift=0.90, over_popularity=0.10))


def test_model_at_its_bar_passes() -> None:
    Evaluation(model=0.78, oracle=0.80, popularity=0.60).check(Bar(oracle_lift=0.90, over_popularity=0.10))
