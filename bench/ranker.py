"""The ranker that the cases serve: its folder, built where it is missing, and requests for it."""

from __future__ import annotations

import itertools
from pathlib import Path

from bench.models import RANKER, built
from isochrone_recsys.samples import sample_requests

CONFIG = "rank"
METHOD = "isochrone.v1.Recsys/Rank"
DIFFERENT = 256
"""Requests that are sent in turn: enough that caches of one user or item help nobody."""


def model_directory() -> Path:
    """Where the ranker is, built first if need be. Raises RuntimeError where it can't be."""
    return built(RANKER)


def encoded_requests(directory: Path, *, rows: int) -> list[bytes]:
    """Requests of `rows` candidates each, as a shop would send them; the same every time."""
    requests = itertools.islice(sample_requests(directory, rows=rows), DIFFERENT)
    return [request.SerializeToString() for request in requests]
