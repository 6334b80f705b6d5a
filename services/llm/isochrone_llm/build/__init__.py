"""Making the llm service's models. Importing it needs no torch, and asking whether a build is current neither."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from isochrone.building.making import Build, BuildReport, needing
from isochrone.building.manifest import is_built
from isochrone_llm.build.recipe import VARIANT, Recipe
from isochrone_llm.manifest import Manifest

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["BLURB", "BUILDS", "build_blurb", "is_current"]

BLURB = Recipe()
"""The model that is served, and the bar it must reach."""
_NEEDED = frozenset({"torch", "tokenizers", "safetensors", "rich"})


def build_blurb(out_dir: Path, *, recipe: Recipe = BLURB, console: Console | None = None) -> BuildReport:
    """Builds the model at `out_dir`, showing progress on `console` (None: on standard error).

    Raises BuildFailed where the model is below the recipe's bar, ConfigError where a package is missing.
    """
    with needing("llm", _NEEDED):
        from rich.console import Console

        from isochrone_llm.build import blurb
    return blurb.build_blurb(out_dir, recipe=recipe, console=console or Console(stderr=True))


def is_current(directory: Path, *, recipe: Recipe = BLURB) -> bool:
    """Whether `directory` holds what building the recipe now would make. Quick: reads no model, imports no torch."""
    return is_built(directory, Manifest, fingerprint=recipe.fingerprint())


BUILDS: Mapping[str, Build] = {VARIANT: build_blurb}
"""What can be built, by variant. Each belongs in a folder of that name under the models directory."""
