"""Where pip on this machine finds packages, handed to pip in an image that is built here."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

_HANDED_ON = ("index-url", "extra-index-url", "find-links", "cert", "timeout")
_PLACES = ("index-url", "extra-index-url", "find-links")


def pip_settings() -> Mapping[str, str]:
    """Of pip's settings here, environment and files together, those that say where from and how."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = {}
    for line in listed.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in _HANDED_ON:
            found[name] = value.strip("'\"")
    return found


def build_options(settings: Mapping[str, str], file: Path) -> list[str]:
    """Of `buildah bud`: the settings as the secret named `pip`, written to `file`, and the folders they name."""
    file.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
    options = ["--secret", f"id=pip,src={file}"]
    for folder in _local(settings):
        options += ["--volume", f"{folder}:{folder}:ro"]
    if any(name in settings for name in _PLACES):  # then there is a build of torch among them, or none is wanted
        options += ["--build-arg", "TORCH_INDEX="]
    return options


def _local(settings: Mapping[str, str]) -> Iterator[Path]:
    places = [part for name in (*_PLACES, "cert") for part in settings.get(name, "").split()]
    for place in places:
        path = Path(urlsplit(place).path if place.startswith("file:") else place)
        if path.is_absolute() and path.exists():
            # An index's files may lie beside it.
            yield path.parent if path.name == "simple" else path
