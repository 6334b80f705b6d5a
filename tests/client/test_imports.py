"""A backend that only calls the mesh installs, and imports, next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"redis", "numpy", "pydantic", "torch", "onnxruntime", "yaml", "aiohttp", "uvloop", "opentelemetry"}


def _imported_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import isochrone", "from isochrone import Client, SyncClient"])
def test_the_client_needs_none_of_what_the_mesh_needs(statement: str) -> None:
    """Neither Redis nor models nor settings come with it."""
    assert not _imported_by(statement) & HEAVY


def test_importing_isochrone_does_not_import_grpc() -> None:
    """The clients are imported on first use."""
    assert "grpc" not in _imported_by("import isochrone")


def test_unknown_names_are_refused_as_anywhere_else() -> None:
    """Lazy imports don't hide typing mistakes."""
    import isochrone

    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        isochrone.Clint  # noqa: B018  # the access is the test
