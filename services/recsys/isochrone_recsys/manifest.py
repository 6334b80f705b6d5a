"""What a built ranker's folder has, and what it says of itself besides what all models' folders do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isochrone.building.manifest import Manifest as AnyManifest

MODEL = "ranker.onnx"
CATALOGUE = "catalogue.npz"
SAMPLES = "samples.npz"


@dataclass(frozen=True, slots=True)
class Shapes:
    """How many features the model has, and how many values each categorical one takes."""

    items: int
    user_dense: int
    user_categories: tuple[int, ...]
    """The cardinality of each."""
    recent_items: int
    """How many recent items count."""
    item_dense: int
    item_categories: tuple[int, ...]
    """The cardinality of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(AnyManifest):
    """Of a ranker. Its metrics are held-out AUCs: its own, the oracle's and popularity's."""

    shapes: Shapes

    @classmethod
    def typed(cls, content: dict[str, Any]) -> dict[str, Any]:
        shapes = content["shapes"]
        for key in ("user_categories", "item_categories"):
            shapes[key] = tuple(shapes[key])
        return content | {"shapes": Shapes(**shapes)}
