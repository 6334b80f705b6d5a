"""What a built eye's folder has, and what it says of itself besides what all models' folders do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isochrone.building.manifest import Manifest as AnyManifest

MODEL = "eye.onnx"
SAMPLES = "samples.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(AnyManifest):
    """Of an eye. Its metrics are shares of held-out photos: those named rightly, and those whose nearest neighbour is
    of their kind."""

    side: int
    """Of the square the model looks at, in pixels."""
    labels: tuple[str, ...]
    """The kinds of goods it knows, in the order of its probabilities."""
    dimensions: int
    """Of an embedding."""

    @classmethod
    def typed(cls, content: dict[str, Any]) -> dict[str, Any]:
        return content | {"labels": tuple(content["labels"])}
