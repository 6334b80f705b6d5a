"""What a built model's folder says of itself: its variant, what it sees, how good it is, and its files' checksums."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from isochrone.errors import ConfigError

MANIFEST = "manifest.json"
MODEL = "eye.onnx"
SAMPLES = "samples.npz"
FORMAT = 1
"""Raised when a reader of an older manifest would misunderstand a newer one, or the other way round."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of a model folder's manifest.json."""

    variant: str
    """Model and variant, "eye.fp32"."""
    fingerprint: str
    """Of everything the build depended on: two builds with the same one are the same build."""
    seed: int
    side: int
    """Of the square the model looks at, in pixels."""
    labels: tuple[str, ...]
    """The kinds of goods it knows, in the order of its probabilities."""
    dimensions: int
    """Of an embedding."""
    metrics: Mapping[str, float]
    """On held-out photos: the share named rightly, and the share whose nearest neighbour is of their kind."""
    versions: Mapping[str, str]
    """Of the packages that the build ran with."""
    sha256: Mapping[str, str]
    """Of each of the folder's other files, by name."""

    @classmethod
    def read(cls, directory: Path) -> Manifest:
        """The manifest of the model in `directory`. Raises ConfigError where there is none that can be used."""
        path = directory / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise ConfigError(f"{path}: written by another version: run `isochrone models build`")
            labels = tuple(content.pop("labels"))
            return cls(labels=labels, **content)
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror or error}: no model is built there: run `isochrone models build`"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: not a manifest: run `isochrone models build`") from error

    def write(self, directory: Path) -> None:
        text = json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True)
        (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")

    def read_file(self, directory: Path, name: str) -> bytes:
        """The bytes of one of the folder's files, which are those that were built. Raises ConfigError."""
        path = directory / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror or error}: run `isochrone models build`") from error
        if sha256(content) != self.sha256.get(name):
            raise ConfigError(
                f"{path}: its SHA-256 isn't that of the file that was built: run `isochrone models build`"
            )
        return content


def sha256(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
