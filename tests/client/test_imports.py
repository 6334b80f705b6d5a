"""A backend that only calls the mesh installs, and imports, next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"redis", "numpy", "pydantic", "torch", "onnxruntime", "yaml", "aiohttp", "uvloop", "opentelemetry"}
FORBIDDEN = HEAVY | {"hiredis", "PIL", "tokenizers", "safetensors", "onnx", "rich", "typer", "prometheus_client"}


def _imported_by(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize("statement", ["import isochrone", "from isochrone import Client, SyncClient"])
def test_the_client_needs_none_of_what_the_mesh_needs(statement: str) -> None:
    """Neither Redis nor models nor settings come with it."""
    assert not _imported_by(statement) & HEAVY


_WITHOUT_THEM = """
import asyncio, importlib, pkgutil, sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Nothing())
import isochrone.client
from isochrone import Client, SyncClient
from isochrone.client import Leg, User
from isochrone.errors import Unavailable
from isochrone.v1 import budget_pb2, llm_pb2, recsys_pb2, router_pb2, vision_pb2

for module in pkgutil.iter_modules(isochrone.client.__path__):
    importlib.import_module(f"isochrone.client.{module.name}")

def asked(client):
    user = User([0.5], [1])
    yield lambda: client.rank(user, [1, 2], tier="gold", variant="ranker.fp32")
    yield lambda: client.classify(b"photo")
    yield lambda: client.embed(b"photo")
    yield lambda: client.complete("name: mug")
    yield lambda: client.fan_out({"a": Leg("isochrone.v1.Recsys/Rank", recsys_pb2.RankRequest())})

async def main():
    for sessions in (0, 1):
        async with Client("127.0.0.1:1", sessions=sessions, timeout_s=5) as client:
            for ask in asked(client):
                try:
                    await ask()
                except Unavailable:
                    pass
            try:
                async for _ in client.generate("name: mug"):
                    pass
            except Unavailable:
                pass

asyncio.run(main())
with SyncClient("127.0.0.1:1", timeout_s=5) as client:
    for ask in asked(client):
        try:
            ask()
        except Unavailable:
            pass
    try:
        list(client.generate("name: mug"))
    except Unavailable:
        pass
print("done")
"""


def test_all_of_the_client_works_where_nothing_else_is_installed() -> None:
    """Whatever is called, though nobody answers: no part of it is imported late."""
    script = f"FORBIDDEN = {FORBIDDEN!r}\n{_WITHOUT_THEM}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_plain_install_brings_the_client_alone(tmp_path: Path) -> None:
    """`pip install isochrone` in a new environment: gRPC, protobuf, and each example finds all it imports."""
    python = tmp_path / "bin/python"
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]  # ours, for that one
    install = [*pip, "install", "--quiet", "--timeout", "10", "--retries", "0", ".", "-c", "constraints.txt"]
    if (done := subprocess.run(install, cwd=ROOT, env=alone, capture_output=True, text=True)).returncode:
        pytest.skip(f"can't install here: {done.stderr.strip().splitlines()[-1]}")
    listed = subprocess.run([*pip, "list", "--format", "freeze"], env=alone, capture_output=True, text=True, check=True)
    installed = {line.partition("==")[0].replace("_", "-") for line in listed.stdout.splitlines()}
    assert installed == {
        "isochrone", "grpcio", "protobuf", "googleapis-common-protos", "typing-extensions",
    }  # fmt: skip
    for example in sorted((ROOT / "examples/python").glob("*.py")):
        subprocess.run([str(python), str(example), "--help"], env=alone, check=True, capture_output=True)


def test_importing_isochrone_does_not_import_grpc() -> None:
    """The clients are imported on first use."""
    assert "grpc" not in _imported_by("import isochrone")


def test_unknown_names_are_refused_as_anywhere_else() -> None:
    """Lazy imports don't hide typing mistakes."""
    import isochrone

    with pytest.raises(AttributeError, match="has no attribute 'Clint'"):
        isochrone.Clint  # noqa: B018  # the access is the test
