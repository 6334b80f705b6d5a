"""A Hugging Face directory that holds a Llama, and how it becomes a model in memory."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from isochrone.building.manifest import MANIFEST
from isochrone.errors import ConfigError
from isochrone_llm.codec import Codec
from isochrone_llm.llama import Llama
from isochrone_llm.llama_config import LlamaConfig
from isochrone_llm.manifest import CONFIG, GENERATION, INDEX, TOKENIZER, WEIGHTS, Manifest

DEFAULT_MAX_TOKENS = 128
"""Where the directory doesn't say."""


@dataclass(frozen=True, slots=True, eq=False)
class LlamaFolder:
    """What a directory holds, in memory and ready to run."""

    variant: str
    model: Llama
    codec: Codec
    end_tokens: tuple[int, ...]
    """Any of these ends a text."""
    default_max_tokens: int

    def __repr__(self) -> str:
        parameters = sum(parameter.numel() for parameter in self.model.parameters())
        return f"<LlamaFolder {self.variant} of {parameters:,} parameters>"

    @classmethod
    def load(cls, directory: Path, *, device: str = "cpu", dtype: torch.dtype = torch.float32) -> LlamaFolder:
        """Raises ConfigError where there is none that can be used.

        With a manifest, as built models have, every file must be the one that was built; any other directory in
        Hugging Face's format is taken as it is. Weights are converted to `dtype`.
        """
        files = _Files(directory)
        config = LlamaConfig.parse(files.read(CONFIG), path=directory / CONFIG)
        codec = Codec.parse(files.read(TOKENIZER), path=directory / TOKENIZER)
        if codec.vocabulary > config.vocab_size:
            raise ConfigError(
                f"{directory}: {codec.vocabulary:,} tokens in {TOKENIZER}, {config.vocab_size:,} in {CONFIG}"
            )
        said = _object(files.read(CONFIG), directory / CONFIG)
        if (directory / GENERATION).exists():
            said = said | _object(files.read(GENERATION), directory / GENERATION)
        ends = said.get("eos_token_id")
        return cls(
            variant=directory.name,
            model=_model(config, _weights(files), directory).to(device=_usable(device), dtype=dtype),
            codec=codec,
            end_tokens=tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,),
            default_max_tokens=said.get("max_new_tokens") or DEFAULT_MAX_TOKENS,
        )


class _Files:
    """Reads a directory's files, and holds them to its manifest where it has one."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._manifest = None
        if not (directory / CONFIG).exists() or (directory / MANIFEST).exists():
            self._manifest = Manifest.read(directory)
            if self._manifest.variant != directory.name:
                raise ConfigError(f"{directory}: holds {self._manifest.variant}, not {directory.name}")

    def read(self, name: str) -> bytes:
        if self._manifest is not None:
            return self._manifest.read_file(self.directory, name)
        path = self.directory / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}") from error


def _object(content: bytes, path: Path) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except ValueError as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
    if not isinstance(said, dict):
        raise ConfigError(f"{path}: not a JSON object")
    return said


def _weights(files: _Files) -> dict[str, Tensor]:
    """Of one file, or of all that the index of a larger model names."""
    names = [WEIGHTS]
    if (files.directory / INDEX).exists():
        index = _object(files.read(INDEX), files.directory / INDEX)
        names = sorted(set(index.get("weight_map", {}).values()))
    weights: dict[str, Tensor] = {}
    for name in names:
        try:
            weights |= safetensors.torch.load(files.read(name))
        except SafetensorError as error:
            raise ConfigError(f"{files.directory / name}: not safetensors: {error}") from error
    return weights


def _model(config: LlamaConfig, weights: dict[str, Tensor], directory: Path) -> Llama:
    if config.tie_word_embeddings:
        weights["lm_head.weight"] = weights.get("model.embed_tokens.weight", torch.empty(0))
    model = Llama(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"{directory}: the weights don't fit {CONFIG}: {error}") from error
    return model.eval().requires_grad_(False)


def _usable(device: str) -> torch.device:
    try:
        usable = torch.device(device)
        torch.empty(0, device=usable)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {device!r}: this torch can't use it: {error}") from error
    return usable
