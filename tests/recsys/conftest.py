"""What tests of the recsys service share: a ranker that learnt a tiny world, built once."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from isochrone.v1.recsys_pb2 import RankRequest, User
from isochrone_recsys.build import build_ranker
from isochrone_recsys.build.recipe import VARIANT, Bar, Recipe
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.model import Ranker

TINY = Recipe(
    items=600,
    past_visits=400,
    train_visits=600,
    held_out_visits=100,
    sample_visitors=50,
    bar=Bar(oracle_lift=-9, over_popularity=-9),
)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that takes a second and makes a poor ranker."""
    return TINY


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a ranker built by the tiny recipe. Not to be changed."""
    directory = tmp_path_factory.mktemp("models") / VARIANT
    build_ranker(directory, recipe=TINY, console=Console(file=io.StringIO()))
    return directory


@pytest.fixture(scope="session")
def ranker(built: Path) -> Ranker:
    """That ranker, loaded."""
    ranker = Ranker(built)
    ranker.load()
    return ranker


@pytest.fixture(scope="session")
def catalogue(built: Path) -> Catalogue:
    return Catalogue.load(built)


@pytest.fixture
def request_(catalogue: Catalogue) -> RankRequest:
    """A request with nothing wrong, to be changed: three recent items and four candidates."""
    ids = catalogue.ids.tolist()
    return RankRequest(
        user=User(dense=[0.5] * 8, categories=[11, 2, 15, 6], recent_items=ids[10:13]), item_ids=ids[100:500:100]
    )
