"""What tests of the vision service share: an eye that saw few photos, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.tiny import EYE
from isochrone_vision.build.recipe import Recipe
from isochrone_vision.model import Eye
from isochrone_vision.samples import Samples


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that takes two seconds and makes a poor eye."""
    return EYE


@pytest.fixture(scope="session")
def built(tiny_eye: Path) -> Path:
    """The folder of an eye built by the tiny recipe. Not to be changed."""
    return tiny_eye


@pytest.fixture(scope="session")
def eye(built: Path) -> Eye:
    """That eye, loaded."""
    eye = Eye(built)
    eye.load()
    return eye


@pytest.fixture(scope="session")
def samples(built: Path) -> Samples:
    return Samples.load(built)
