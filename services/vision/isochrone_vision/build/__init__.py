"""Making the vision service's models. Serving needs none of this, and importing it needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isochrone.errors import ConfigError
from isochrone_vision.build.recipe import VARIANT, Recipe
from isochrone_vision.manifest import Manifest

if TYPE_CHECKING:
    from rich.console import Console

    from isochrone_vision.build.eye import BuildReport

__all__ = ["BUILDS", "EYE", "Build", "build_eye", "is_current"]

EYE = Recipe()
"""The eye that is served: all its photos, and the bar it must reach."""
_NEEDED = {"torch", "onnx", "onnxruntime", "numpy", "PIL", "rich"}


class Build(Protocol):
    """Builds one variant into a folder of its own, which it replaces whole or not at all."""

    def __call__(self, out_dir: Path, *, console: Console | None = None) -> BuildReport:
        """Raises BuildFailed where the model is below its bar, ConfigError where a package is missing."""


def build_eye(out_dir: Path, *, recipe: Recipe = EYE, console: Console | None = None) -> BuildReport:
    """Builds the eye at `out_dir`, showing progress on `console` (None: on standard error).

    Raises BuildFailed where the model is below the recipe's bar, ConfigError where a package is missing.
    """
    try:
        from rich.console import Console

        from isochrone_vision.build import eye
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _NEEDED:
            raise
        raise ConfigError(f"building a model needs {package}: pip install 'isochrone[build,vision]'") from error
    return eye.build_eye(out_dir, recipe=recipe, console=console or Console(stderr=True))


def is_current(directory: Path, *, recipe: Recipe = EYE) -> bool:
    """Whether `directory` holds what building the recipe now would make. Quick: reads no model, imports no torch."""
    try:
        manifest = Manifest.read(directory)
    except ConfigError:
        return False
    present = all((directory / name).is_file() for name in manifest.sha256)
    return present and manifest.fingerprint == recipe.fingerprint()


BUILDS: Mapping[str, Build] = {VARIANT: build_eye}
"""What can be built, by variant. Each belongs in a folder of that name under the models directory."""
