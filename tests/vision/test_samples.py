"""Demos and benchmarks draw realistic photos, the same ones every time."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from isochrone.errors import ConfigError
from isochrone_vision.build.recipe import Recipe
from isochrone_vision.build.scene import LABELS
from isochrone_vision.look import CLASSIFY
from isochrone_vision.model import Eye
from isochrone_vision.samples import Samples, sample_requests


def test_same_seed_same_requests(built: Path) -> None:
    """A benchmark can be repeated, and another seed gives other requests."""
    first, again, other = (list(islice(sample_requests(built, seed=seed), 10)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_requests_are_valid(built: Path, eye: Eye) -> None:
    for request in islice(sample_requests(built, top_k=2), 20):
        look = eye.decode(CLASSIFY, request.SerializeToString())
        assert look.top_k == 2


def test_photos_are_jpeg_files_with_a_label_each(samples: Samples, tiny: Recipe) -> None:
    """Of all kinds, as many as the recipe keeps."""
    assert len(samples.photos) == len(samples.labels) == tiny.sample_photos
    assert all(photo.startswith(b"\xff\xd8") and photo.endswith(b"\xff\xd9") for photo in samples.photos)
    assert set(samples.labels) <= set(LABELS)


def test_without_a_model_there_are_none(tmp_path: Path) -> None:
    """The error is raised at once, not at the first request."""
    with pytest.raises(ConfigError, match="isochrone models build"):
        sample_requests(tmp_path)
