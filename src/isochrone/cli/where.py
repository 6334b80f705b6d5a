"""Which mesh file a command means when none is given."""

from __future__ import annotations

from pathlib import Path

from isochrone.errors import ConfigError

_USUAL = (Path("deploy/mesh.yaml"), Path("mesh.yaml"))


def mesh_file(given: Path | None) -> Path:
    """The file given, else deploy/mesh.yaml or mesh.yaml of this folder. Raises ConfigError if there is none."""
    path = given or usual_file()
    if path is None:
        raise ConfigError(f"no mesh file: give one, or run this where {' or '.join(map(str, _USUAL))} is")
    return path


def usual_file() -> Path | None:
    """The mesh file of this folder, if it has one."""
    return next((path for path in _USUAL if path.exists()), None)
