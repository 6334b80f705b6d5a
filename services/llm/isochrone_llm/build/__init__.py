"""Making the llm service's models. Importing it needs no torch, and asking whether a build is current neither."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isochrone.errors import ConfigError
from isochrone_llm.build.recipe import VARIANT, Recipe
from isochrone_llm.manifest import Manifest

if TYPE_CHECKING:
    from rich.console import Console

    from isochrone_llm.build.blurb import BuildReport

__all__ = ["BLURB", "BUILDS", "Build", "build_blurb", "is_current"]

BLURB = Recipe()
"""The model that is served, and the bar it must reach."""
_NEEDED = {"torch", "tokenizers", "safetensors", "rich"}


class Build(Protocol):
    """Builds one variant into a folder of its own, which it replaces whole or not at all."""

    def __call__(self, out_dir: Path, *, console: Console | None = None) -> BuildReport:
        """Raises BuildFailed where the model is below its bar, ConfigError where a package is missing."""


def build_blurb(out_dir: Path, *, recipe: Recipe = BLURB, console: Console | None = None) -> BuildReport:
    """Builds the model at `out_dir`, showing progress on `console` (None: on standard error).

    Raises BuildFailed where the model is below the recipe's bar, ConfigError where a package is missing.
    """
    try:
        from rich.console import Console

        from isochrone_llm.build import blurb
    except ModuleNotFoundError as error:
        if error.name not in _NEEDED:
            raise
        raise ConfigError(f"building a model needs {error.name}: pip install 'isochrone[build,llm]'") from error
    return blurb.build_blurb(out_dir, recipe=recipe, console=console or Console(stderr=True))


def is_current(directory: Path, *, recipe: Recipe = BLURB) -> bool:
    """Whether `directory` holds what building the recipe now would make. Quick: reads no model, imports no torch."""
    try:
        manifest = Manifest.read(directory)
    except ConfigError:
        return False
    present = all((directory / name).is_file() for name in manifest.sha256)
    return present and manifest.fingerprint == recipe.fingerprint()


BUILDS: Mapping[str, Build] = {VARIANT: build_blurb}
"""What can be built, by variant. Each belongs in a folder of that name under the models directory."""
