"""The shape of a Llama, as the config.json of a Hugging Face directory says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isochrone.errors import ConfigError

_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "max_position_embeddings",
)


@dataclass(frozen=True, slots=True)
class LlamaConfig:
    """Hugging Face's names for the sizes that this service reads, so that each is found where they document it."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    """Fewer than attention heads where several share their keys and values."""
    max_position_embeddings: int
    head_dim: int
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10_000.0
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False

    @classmethod
    def parse(cls, content: bytes, *, path: Path) -> LlamaConfig:
        """The configuration in the content of a config.json. Raises ConfigError, naming `path`, for what isn't served.

        What would change the model's numbers is refused, never ignored.
        """
        try:
            said: Mapping[str, Any] = json.loads(content)
            rope = said.get("rope_parameters") or said.get("rope_scaling") or {}
            for size in _SIZES:
                if not isinstance(said[size], int) or said[size] < 1:
                    raise ConfigError(f"{path}: {size}: {said[size]!r} is not a number above 0")
            for what, is_so in (
                ("model_type", said["model_type"] == "llama"),
                ("hidden_act", said.get("hidden_act", "silu") == "silu"),
                ("rope type", rope.get("rope_type", rope.get("type", "default")) == "default"),
                ("num_key_value_heads", said["num_attention_heads"] % _kv_heads(said) == 0),
            ):
                if not is_so:
                    raise ConfigError(f"{path}: {what}: not one that this service can run")
            return cls(
                vocab_size=said["vocab_size"],
                hidden_size=said["hidden_size"],
                intermediate_size=said["intermediate_size"],
                num_hidden_layers=said["num_hidden_layers"],
                num_attention_heads=said["num_attention_heads"],
                num_key_value_heads=_kv_heads(said),
                max_position_embeddings=said["max_position_embeddings"],
                head_dim=said.get("head_dim") or said["hidden_size"] // said["num_attention_heads"],
                rms_norm_eps=said.get("rms_norm_eps", 1e-6),
                rope_theta=rope.get("rope_theta", said.get("rope_theta", 10_000.0)),
                tie_word_embeddings=said.get("tie_word_embeddings", False),
                attention_bias=said.get("attention_bias", False),
                mlp_bias=said.get("mlp_bias", False),
            )
        except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
            raise ConfigError(f"{path}: not the config.json of a Llama: {error!r}") from error

    def to_json(self, *, bos_token_id: int, eos_token_id: int, pad_token_id: int) -> dict[str, Any]:
        """What Hugging Face's LlamaConfig reads back."""
        sizes = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return sizes | {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_act": "silu",
            "attention_dropout": 0.0,
            "initializer_range": 0.02,
            "rope_scaling": None,
            "torch_dtype": "float32",
            "use_cache": True,
            "bos_token_id": bos_token_id,
            "eos_token_id": eos_token_id,
            "pad_token_id": pad_token_id,
        }


def _kv_heads(said: Mapping[str, Any]) -> int:
    return int(said.get("num_key_value_heads") or said["num_attention_heads"])
