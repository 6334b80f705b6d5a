"""Photos for demos and benchmarks: JPEG files that the model was not trained on, and what is on each."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from isochrone.v1.vision_pb2 import ClassifyRequest
from isochrone_vision.manifest import SAMPLES, Manifest


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Held-out photos."""

    photos: Sequence[bytes]
    """The bytes of JPEG files."""
    labels: Sequence[str]
    """What is on each."""

    @classmethod
    def load(cls, directory: Path) -> Samples:
        """The samples of the model built in `directory`. Raises ConfigError where they aren't there, or others."""
        content = Manifest.read(directory).read_file(directory, SAMPLES)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            ends = arrays["ends"].tolist()
            files = arrays["files"].tobytes()
            labels = arrays["labels"].tolist()
        return cls(photos=[files[start:end] for start, end in pairwise([0, *ends])], labels=labels)

    def save(self, directory: Path) -> None:
        np.savez(
            directory / SAMPLES,
            files=np.frombuffer(b"".join(self.photos), np.uint8),
            ends=np.cumsum([len(photo) for photo in self.photos]),
            labels=np.array(self.labels),
        )

    def requests(self, *, seed: int = 0, top_k: int = 3) -> Iterator[ClassifyRequest]:
        """Requests without end, a photo each; the same for the same seed."""
        rng = np.random.default_rng(seed)
        while True:
            yield ClassifyRequest(image=self.photos[int(rng.integers(len(self.photos)))], top_k=top_k)


def sample_requests(directory: Path, *, seed: int = 0, top_k: int = 3) -> Iterator[ClassifyRequest]:
    """`Samples.requests` of the model built in `directory`. Raises ConfigError where there is none."""
    return Samples.load(directory).requests(seed=seed, top_k=top_k)
