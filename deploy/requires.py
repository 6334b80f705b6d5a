"""Writes what each of the project's extras needs as a file for pip: NAME.txt, for images that install it in a layer
of its own, one that changes only when it does.

    python requires.py pyproject.toml FOLDER
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_OWN = re.compile(r"^isochrone\[(?P<extras>[\w,\s-]+)\]$")


def requirements(extra: str, extras: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Of others only: extras of the project itself are followed."""
    for requirement in extras[extra]:
        own = _OWN.match(requirement)
        if own is None:
            yield requirement
            continue
        for inner in own["extras"].split(","):
            yield from requirements(inner.strip(), extras)


def main(pyproject: Path, folder: Path) -> None:
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    folder.mkdir(parents=True, exist_ok=True)
    for extra in extras:
        lines = sorted({*project["dependencies"], *requirements(extra, extras)})
        (folder / f"{extra}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
