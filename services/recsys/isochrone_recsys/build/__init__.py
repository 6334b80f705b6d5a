"""Making the recsys service's models. Serving needs none of this, and importing it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isochrone.building.making import Build, BuildReport, needing
from isochrone.building.manifest import is_built
from isochrone_recsys.build.recipe import VARIANT, Recipe
from isochrone_recsys.manifest import Manifest

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BUILDS", "RANKER", "build_ranker", "is_current"]

RANKER = Recipe()
"""The ranker that is served: the full world, and the bar it must reach."""
_NEEDED = frozenset({"torch", "onnx", "onnxruntime", "numpy", "rich"})


def build_ranker(out_dir: Path, *, recipe: Recipe = RANKER, console: Console | None = None) -> BuildReport:
    """Builds the ranker at `out_dir`, showing progress on `console` (None: on standard error).

    Raises BuildFailed where the model is below the recipe's bar, ConfigError where a package is missing.
    """
    with needing("recsys", _NEEDED):
        from rich.console import Console

        from isochrone_recsys.build import ranker
    return ranker.build_ranker(out_dir, recipe=recipe, console=console or Console(stderr=True))


def is_current(directory: Path, *, recipe: Recipe = RANKER) -> bool:
    """Whether `directory` holds what building the recipe now would make. Quick: reads no model, imports no torch."""
    return is_built(directory, Manifest, fingerprint=recipe.fingerprint())


BUILDS: Mapping[str, Build] = {VARIANT: build_ranker}
"""What can be built, by variant. Each belongs in a folder of that name under the models directory."""
