"""What a built language model's folder has, and what it says of itself besides what all models' folders do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isochrone.building.manifest import Manifest as AnyManifest

SAMPLES = "samples.json"
# The names that Hugging Face gives the rest.
CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass(frozen=True, slots=True)
class Shapes:
    """How large the model is."""

    parameters: int
    vocabulary: int
    context: int
    """Tokens of a prompt and its completion together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest(AnyManifest):
    """Of a language model. Its metrics are of held-out prompts: the part whose blurbs parse, and the part whose blurbs
    say what they should."""

    shapes: Shapes

    @classmethod
    def typed(cls, content: dict[str, Any]) -> dict[str, Any]:
        return content | {"shapes": Shapes(**content["shapes"])}
