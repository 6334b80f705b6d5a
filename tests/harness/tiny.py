"""Models as real as those of the shop, only that they learnt next to nothing: small, and built in seconds.

Building needs torch, so nothing here is imported with the rest of the harness.
"""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

from rich.console import Console

from isochrone_llm.build import build_blurb
from isochrone_llm.build import recipe as blurb
from isochrone_recsys.build import build_ranker
from isochrone_recsys.build import recipe as ranker
from isochrone_vision.build import build_eye
from isochrone_vision.build import recipe as eye

RANKER = ranker.Recipe(
    items=600,
    past_visits=400,
    train_visits=600,
    held_out_visits=100,
    sample_visitors=50,
    bar=ranker.Bar(oracle_lift=-9, over_popularity=-9),
)
EYE = eye.Recipe(
    train_photos=240,
    held_out_photos=48,
    gallery_photos=48,
    passes=1,
    sample_photos=24,
    bar=eye.Bar(accuracy=0, neighbours_alike=0),
)
BLURB = blurb.Recipe(
    vocabulary=600,
    hidden=64,
    feed_forward=128,
    layers=2,
    context=128,
    texts=2000,
    batch_texts=16,
    learning_rate=6e-3,
    held_out=32,
    samples=24,
    bar=blurb.Bar(right=0.0),
)


_BUILDS = {
    "ranker": (ranker.VARIANT, partial(build_ranker, recipe=RANKER)),
    "eye": (eye.VARIANT, partial(build_eye, recipe=EYE)),
    "blurb": (blurb.VARIANT, partial(build_blurb, recipe=BLURB)),
}


def build(name: str, models: Path) -> Path:
    """The folder in `models` of the ranker, the eye or the writer of blurbs, built in seconds if it isn't there yet."""
    variant, make = _BUILDS[name]
    folder = models / variant
    if not folder.exists():
        make(folder, console=Console(file=io.StringIO()))
    return folder
