"""Realistic requests for demos and benchmarks: prompts that the model was not trained on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from isochrone.errors import ConfigError
from isochrone.v1.llm_pb2 import GenerateRequest
from isochrone_llm.manifest import SAMPLES, Manifest


@dataclass(frozen=True, slots=True)
class Samples:
    """Prompts, all different."""

    prompts: tuple[str, ...]

    @classmethod
    def load(cls, directory: Path) -> Samples:
        """The samples of the model built in `directory`. Raises ConfigError where they aren't there, or others."""
        content = Manifest.read(directory).read_file(directory, SAMPLES)
        try:
            return cls(tuple(json.loads(content)["prompts"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{directory / SAMPLES}: not samples: run `isochrone models build`") from error

    def save(self, directory: Path) -> None:
        text = json.dumps({"prompts": self.prompts}, indent=2, ensure_ascii=False)
        (directory / SAMPLES).write_text(text + "\n", encoding="utf-8")

    def requests(self, *, max_tokens: int = 0, temperature: float = 0.0, seed: int = 0) -> Iterator[GenerateRequest]:
        """Requests without end, the same for the same seed. Each is given a seed of its own."""
        rng = random.Random(seed)
        while True:
            yield GenerateRequest(
                prompt=rng.choice(self.prompts),
                max_tokens=max_tokens,
                temperature=temperature,
                seed=rng.getrandbits(64),
            )


def sample_requests(
    directory: Path, *, max_tokens: int = 0, temperature: float = 0.0, seed: int = 0
) -> Iterator[GenerateRequest]:
    """`Samples.requests` of the model built in `directory`. Raises ConfigError where there is none."""
    return Samples.load(directory).requests(max_tokens=max_tokens, temperature=temperature, seed=seed)
