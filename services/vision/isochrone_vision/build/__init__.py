"""Making the vision service's models. Serving needs none of this, and importing it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isochrone.building.making import Build, BuildReport, needing
from isochrone.building.manifest import is_built
from isochrone_vision.build.recipe import VARIANT, Recipe
from isochrone_vision.manifest import Manifest

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BUILDS", "EYE", "build_eye", "is_current"]

EYE = Recipe()
"""The eye that is served: all its photos, and the bar it must reach."""
_NEEDED = frozenset({"torch", "onnx", "onnxruntime", "numpy", "PIL", "rich"})


def build_eye(out_dir: Path, *, recipe: Recipe = EYE, console: Console | None = None) -> BuildReport:
    """Builds the eye at `out_dir`, showing progress on `console` (None: on standard error).

    Raises BuildFailed where the model is below the recipe's bar, ConfigError where a package is missing.
    """
    with needing("vision", _NEEDED):
        from rich.console import Console

        from isochrone_vision.build import eye
    return eye.build_eye(out_dir, recipe=recipe, console=console or Console(stderr=True))


def is_current(directory: Path, *, recipe: Recipe = EYE) -> bool:
    """Whether `directory` holds what building the recipe now would make. Quick: reads no model, imports no torch."""
    return is_built(directory, Manifest, fingerprint=recipe.fingerprint())


BUILDS: Mapping[str, Build] = {VARIANT: build_eye}
"""What can be built, by variant. Each belongs in a folder of that name under the models directory."""
