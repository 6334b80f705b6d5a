"""Models as real as those of the shop, only that they learnt next to nothing: small, and built in seconds.

Building needs torch, so nothing here is imported with the rest of the harness.
"""

from __future__ import annotations

import io
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
    texts=2800,
    batch_texts=16,
    learning_rate=6e-3,
    held_out=32,
    samples=24,
    bar=blurb.Bar(right=0.0),
)


def build_tiny_ranker(models: Path) -> Path:
    """Its folder in `models`: a ranker that learnt a tiny world, in a second."""
    build_ranker(folder := models / ranker.VARIANT, recipe=RANKER, console=_silent())
    return folder


def build_tiny_eye(models: Path) -> Path:
    """Its folder in `models`: an eye that saw few photos, in two seconds."""
    build_eye(folder := models / eye.VARIANT, recipe=EYE, console=_silent())
    return folder


def build_tiny_blurb(models: Path) -> Path:
    """Its folder in `models`: a writer that read few blurbs, in some seconds."""
    build_blurb(folder := models / blurb.VARIANT, recipe=BLURB, console=_silent())
    return folder


def _silent() -> Console:
    return Console(file=io.StringIO())
