"""What tests of the vision service share: an eye that saw few photos, built once."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from isochrone_vision.build import build_eye
from isochrone_vision.build.recipe import VARIANT, Bar, Recipe
from isochrone_vision.model import Eye
from isochrone_vision.samples import Samples

TINY = Recipe(
    train_photos=240,
    held_out_photos=48,
    gallery_photos=48,
    passes=1,
    sample_photos=24,
    bar=Bar(accuracy=0, neighbours_alike=0),
)


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that takes two seconds and makes a poor eye."""
    return TINY


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an eye built by the tiny recipe. Not to be changed."""
    directory = tmp_path_factory.mktemp("models") / VARIANT
    build_eye(directory, recipe=TINY, console=Console(file=io.StringIO()))
    return directory


@pytest.fixture(scope="session")
def eye(built: Path) -> Eye:
    """That eye, loaded."""
    eye = Eye(built)
    eye.load()
    return eye


@pytest.fixture(scope="session")
def samples(built: Path) -> Samples:
    return Samples.load(built)
