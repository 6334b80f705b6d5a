"""The models that the cases serve: their folders, built where they are missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bench.servers import CONFIGS
from isochrone.config import load_config
from isochrone_llm.build import is_current as text_is_current
from isochrone_recsys.build import is_current as ranker_is_current
from isochrone_vision.build import is_current as eye_is_current

RANKER, EYE, BLURB = "ranker.fp32", "eye.fp32", "blurb.fp32"
_IS_CURRENT: dict[str, Callable[[Path], bool]] = {
    RANKER: ranker_is_current,
    EYE: eye_is_current,
    BLURB: text_is_current,
}


def built(variant: str) -> Path:
    """Where the configurations have a model, built first if need be. Raises RuntimeError where it can't be."""
    models = load_config(CONFIGS / "rank.yaml").models
    directory = models / variant
    if not _IS_CURRENT[variant](directory):
        # In a process of its own: what training leaves behind would be in nobody's way.
        command = (sys.executable, "-m", "isochrone.cli", "models", "build", variant, "--models", str(models))
        if subprocess.run(command).returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed")
    return directory
