"""The generated shop's photos: the same from the same seed, no two alike, and of every kind as many."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from isochrone_vision import photo
from isochrone_vision.build.pen import Pen, Pose
from isochrone_vision.build.scene import LABELS, take_photo, take_photos


def test_same_seed_same_photos() -> None:
    """Down to the bytes of the files."""
    first, again, other = (
        take_photos(24, side=64, rng=np.random.default_rng(seed), kept_files=24) for seed in (1, 1, 2)
    )
    assert first.files == again.files
    np.testing.assert_array_equal(first.pixels, again.pixels)
    np.testing.assert_array_equal(first.kinds, again.kinds)
    assert set(first.files).isdisjoint(other.files)


def test_there_are_as_many_of_each_kind() -> None:
    """So that a share of all photos says something about every kind."""
    photos = take_photos(36, side=64, rng=np.random.default_rng(1))
    assert np.bincount(photos.kinds).tolist() == [3] * len(LABELS)
    assert len(LABELS) >= 10


def test_photos_are_seen_as_the_service_sees_them() -> None:
    """The model learns from what `photo.decode` makes of the files, margins and all."""
    photos = take_photos(6, side=64, rng=np.random.default_rng(1), kept_files=4)
    assert len(photos.files) == 4
    for file, pixels in zip(photos.files, photos.pixels, strict=False):
        np.testing.assert_array_equal(photo.decode(file, side=64), pixels)


def test_every_photo_taken_is_told() -> None:
    """A progress bar reaches its end."""
    told: list[int] = []
    take_photos(7, side=64, rng=np.random.default_rng(1), advance=told.append)
    assert sum(told) == 7


@pytest.mark.parametrize("label", LABELS)
def test_no_two_of_a_kind_are_alike(label: str) -> None:
    """In pose, colours, ground and light."""
    rng = np.random.default_rng(1)
    pixels = np.array([photo.decode(take_photo(label, rng), side=64) for _ in range(4)], np.float32)
    for one in range(4):
        for other in range(one):
            assert np.abs(pixels[one] - pixels[other]).mean() > 10
    with Image.open(io.BytesIO(take_photo(label, rng))) as image:
        assert image.format == "JPEG"


def test_a_pose_turns_scales_and_mirrors() -> None:
    """A box at the right of the frame lies where the pose puts it."""

    def painted(pose: Pose) -> tuple[float, float]:
        canvas = Image.new("RGB", (100, 100))
        Pen(canvas, pose).box(0.5, -0.1, 0.7, 0.1, (255, 255, 255))
        rows, columns = np.nonzero(np.asarray(canvas)[:, :, 0])
        return float(columns.mean()), float(rows.mean())

    assert painted(Pose((50, 50), 50)) == pytest.approx((80, 50), abs=1)
    assert painted(Pose((50, 50), 50, turn=math.pi / 2)) == pytest.approx((50, 80), abs=1)
    assert painted(Pose((50, 50), 25)) == pytest.approx((65, 50), abs=1)
    assert painted(Pose((50, 50), 50, squeeze=-1)) == pytest.approx((20, 50), abs=1)
