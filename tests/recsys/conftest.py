"""What tests of the recsys service share: a ranker that learnt a tiny world, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.tiny import RANKER
from isochrone.v1.recsys_pb2 import RankRequest, User
from isochrone_recsys.build.recipe import Recipe
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.model import Ranker


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that takes a second and makes a poor ranker."""
    return RANKER


@pytest.fixture(scope="session")
def built(tiny_ranker: Path) -> Path:
    """The folder of a ranker built by the tiny recipe. Not to be changed."""
    return tiny_ranker


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
