"""Photos as a camera takes them, for the cases that send large requests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from isochrone.client.vision import classify_request

WIDTH, HEIGHT = 4000, 3000


def large_photo(*, seed: int = 0) -> bytes:
    """A JPEG of 12 million pixels and some 2 MB: shapes that are smooth, under the grain of a sensor."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(40, 216, (30, 40, 3), np.uint8)).resize(
        (WIDTH, HEIGHT), Image.Resampling.BICUBIC
    )
    grain = rng.normal(0, 4, (HEIGHT, WIDTH, 1)).astype(np.float32)
    pixels = np.clip(np.asarray(coarse, np.float32) + grain, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=85)
    return file.getvalue()


def classify_requests(count: int = 4) -> list[bytes]:
    """Requests with a photo each."""
    return [classify_request(large_photo(seed=seed), top_k=3) for seed in range(count)]
