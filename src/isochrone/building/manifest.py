"""What a built model's folder says of itself: its variant, how good it is, its files' checksums, and what it was
built from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from isochrone.errors import ConfigError

MANIFEST = "manifest.json"
FORMAT = 1
"""Raised when a reader of an older manifest would misunderstand a newer one, or the other way round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The contents of a model folder's manifest.json. A service adds what its own models have."""

    variant: str
    """Model and variant, "ranker.fp32"."""
    fingerprint: str
    """Of everything the build depended on: two builds with the same one are the same build."""
    seed: int
    metrics: Mapping[str, float]
    """How good the model is on what it was not trained on."""
    versions: Mapping[str, str]
    """Of the packages that the build ran with."""
    sha256: Mapping[str, str]
    """Of each of the folder's other files, by name."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """The manifest of the model in `directory`. Raises ConfigError where there is none that can be used."""
        path = directory / MANIFEST
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT:
                raise ConfigError(f"{path}: written by another version: run `isochrone models build`")
            return cls(**cls.typed(content))
        except OSError as error:
            raise ConfigError(
                f"{path}: {error.strerror or error}: no model is built there: run `isochrone models build`"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: not a manifest: run `isochrone models build`") from error

    @classmethod
    def typed(cls, content: dict[str, Any]) -> dict[str, Any]:
        """Fields as JSON has them, made into what they are here."""
        return content

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
        if _sha256(content) != self.sha256.get(name):
            raise ConfigError(
                f"{path}: its SHA-256 isn't that of the file that was built: run `isochrone models build`"
            )
        return content


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """For `Manifest.sha256`."""
    return {name: _sha256((folder / name).read_bytes()) for name in names}


def fingerprint(recipe: object, sources: Iterable[Path]) -> str:
    """Of a recipe, by its repr, and of the sources that carry it out: 64 hexadecimal digits."""
    digest = hashlib.sha256(repr(recipe).encode())
    for path in sources:
        content = path.read_bytes()
        digest.update(f"\0{path.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()


def is_built(directory: Path, manifest: type[Manifest], *, fingerprint: str) -> bool:
    """Whether `directory` holds what a build of that fingerprint makes. Quick: reads no model."""
    try:
        found = manifest.read(directory)
    except ConfigError:
        return False
    return found.fingerprint == fingerprint and all((directory / name).is_file() for name in found.sha256)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
