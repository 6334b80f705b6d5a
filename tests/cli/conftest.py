"""A mesh of fake children, and what a test needs to see that nothing of it stays behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

HERE = Path(__file__).parent

MESH = """\
mesh: fakes
redis: {url: embedded}
router: {listen: "127.0.0.1:0", admin: "127.0.0.1:0", drain_s: 3}
routes:
  isochrone.testing.v1.Toy/Echo: {objective_ms: 15, deadline_ms: 100, lanes: ["echo@cpu"]}
nodes:
  alpha: {service: fake_child, replicas: 2, drain_s: 3}
"""


_NOT_OURS = {"torchinductor_root", ".ses"}
"""What torch and its exporter leave where models are built."""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which each fake child notes its arguments; `python -m isochrone_router` is one of them."""
    code = tmp_path / "code"
    code.mkdir()
    for module in ("fake_child", "isochrone_router"):
        shutil.copy(HERE / "fake_child.py", code / f"{module}.py")
    record = tmp_path / "record"
    record.mkdir()
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(code), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("FAKE_RECORD", str(record))
    monkeypatch.delenv("ISOCHRONE_REDIS_URL", raising=False)
    return record


@pytest.fixture
def mesh_file(tmp_path: Path) -> Path:
    path = tmp_path / "mesh.yaml"
    path.write_text(MESH)
    return path


@pytest.fixture(autouse=True)
def no_leftovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test here leaves no process of its own and no temporary file."""
    scratch = Path("/tmp") / f"iso{os.getpid()}"  # pytest's own folders are too long for a socket's path
    scratch.mkdir(exist_ok=True)
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    before = {process.pid for process in psutil.Process().children(recursive=True)}  # of fixtures of the whole session
    try:
        yield
        after = psutil.Process().children(recursive=True)
        assert [str(process) for process in after if process.pid not in before] == []
        assert {path.name for path in scratch.iterdir()} - _NOT_OURS == set()
    finally:
        shutil.rmtree(scratch)
