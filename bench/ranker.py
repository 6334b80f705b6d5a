"""The ranker that the cases serve: its folder, built where it is missing, and requests for it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

from bench.servers import CONFIGS
from isochrone.config import load_config
from isochrone_recsys.build import is_current
from isochrone_recsys.samples import sample_requests

CONFIG = "rank"
METHOD = "isochrone.v1.Recsys/Rank"
VARIANT = "ranker.fp32"
DIFFERENT = 256
"""Requests that are sent in turn: enough that caches of one user or item help nobody."""


def model_directory() -> Path:
    """Where the ranker is, built first if need be. Raises RuntimeError where it can't be."""
    models = load_config(CONFIGS / f"{CONFIG}.yaml").models
    directory = models / VARIANT
    if not is_current(directory):
        # In a process of its own: what training leaves behind would be in nobody's way.
        command = (sys.executable, "-m", "isochrone.cli", "models", "build", VARIANT, "--models", str(models))
        if subprocess.run(command).returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed")
    return directory


def encoded_requests(directory: Path, *, rows: int) -> list[bytes]:
    """Requests of `rows` candidates each, as a shop would send them; the same every time."""
    requests = itertools.islice(sample_requests(directory, rows=rows), DIFFERENT)
    return [request.SerializeToString() for request in requests]
