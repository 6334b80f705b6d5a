"""What tests share: a mesh of processes, a Redis, a look for what they leave behind, and small real models."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

sys.path.append(str(Path(__file__).parent))  # for `harness`

from harness import Mesh, RedisServer, start_mesh
from harness.shared_run import SharedRun

StartMesh = Callable[..., Awaitable[Mesh]]
_NO_MODELS = "what builds models isn't installed"
_LOGS = pytest.StashKey[Path]()
_RUN = pytest.StashKey[SharedRun]()


@pytest.fixture
def logs(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where this test's processes log; shown when it fails."""
    folder = tmp_path / "logs"
    folder.mkdir()
    request.node.stash[_LOGS] = folder
    return folder


@pytest.fixture
async def redis(logs: Path) -> AsyncIterator[RedisServer]:
    """A Redis for one test, running. Every key that is in it at the end has a time to live."""
    server = RedisServer(logs=logs)
    await server.start()
    yield server
    server.go_on()
    leaked = await server.keys_for_ever() if server.child.running else []
    await server.close()
    assert leaked == []


@pytest.fixture
async def mesh(tmp_path: Path, logs: Path) -> AsyncIterator[StartMesh]:
    """Starts a mesh of toys: `await mesh(redis=redis, nodes=2, options={...})`."""
    started: list[Mesh] = []

    async def start(**changes: Any) -> Mesh:
        started.append(await start_mesh(tmp_path, **changes))
        return started[-1]

    yield start
    for one in started:
        await one.close()


@pytest.fixture(scope="session")
def shared_run(pytestconfig: pytest.Config) -> SharedRun:
    """What this process shares with the others of the run."""
    return pytestconfig.stash[_RUN]


@pytest.fixture(scope="session")
def models_folder(shared_run: SharedRun) -> Path:
    """Where the tiny models are built, each once in a run, when a test first asks for it."""
    return shared_run.folder / "models"


def _built(name: str, models: Path, run: SharedRun) -> Path:
    tiny = pytest.importorskip("harness.tiny", reason=_NO_MODELS)
    with run.lock(name):
        return Path(tiny.build(name, models))


@pytest.fixture(scope="session")
def tiny_ranker(models_folder: Path, shared_run: SharedRun) -> Path:
    """The folder of a poor ranker, built in a second. Not to be changed."""
    return _built("ranker", models_folder, shared_run)


@pytest.fixture(scope="session")
def tiny_eye(models_folder: Path, shared_run: SharedRun) -> Path:
    """The folder of a poor eye, built in two seconds. Not to be changed."""
    return _built("eye", models_folder, shared_run)


@pytest.fixture(scope="session")
def tiny_blurb(models_folder: Path, shared_run: SharedRun) -> Path:
    """The folder of a poor writer, built in some seconds. Not to be changed."""
    return _built("blurb", models_folder, shared_run)


@pytest.fixture(scope="session")
def tiny_models(models_folder: Path, tiny_ranker: Path, tiny_eye: Path, tiny_blurb: Path) -> Path:
    """What a mesh's `models` may name: a folder with all three. Not to be changed."""
    assert {tiny_ranker.parent, tiny_eye.parent, tiny_blurb.parent} == {models_folder}
    return models_folder


def shop_settings(models: Path) -> dict[str, Any]:
    """A mesh of all services, as `start_mesh` takes it instead of toys."""
    routes = {"Recsys/Rank": "ranker.fp32", "Vision/Classify": "eye.fp32", "Vision/Embed": "eye.fp32"}
    routes |= {"Llm/Generate": "blurb.fp32", "Llm/Complete": "blurb.fp32"}
    return {
        "models": str(models),
        "routes": {
            f"isochrone.v1.{method}": {"objective_ms": 1_000, "deadline_ms": 20_000, "lanes": [f"{variant}@cpu"]}
            for method, variant in routes.items()
        },
        "nodes": {name: {"service": name} for name in ("recsys", "vision", "llm")},
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(
    tiny_models: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Mesh]:
    """A mesh of all services with tiny models, one for all tests of a module: they leave it as they found it, and run
    in its event loop, `pytest.mark.asyncio(loop_scope="module")`."""
    folder = tmp_path_factory.mktemp("shop")
    request.node.stash[_LOGS] = folder / "logs"
    running = await start_mesh(folder, instead=shop_settings(tiny_models))
    yield running
    await running.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    module = item.getparent(pytest.Module)
    logs = item.stash.get(_LOGS, module.stash.get(_LOGS, None) if module is not None else None)
    if report.failed and logs is not None:
        for path in sorted(logs.glob("*.log")):
            report.sections.append((path.name, "\n".join(path.read_text().splitlines()[-40:])))
    return report


def pytest_configure(config: pytest.Config) -> None:
    # Consoles made at import keep the width they find here. Processes of pytest-xdist have one, and some terminals.
    os.environ.pop("COLUMNS", None)
    given: dict[str, Any] | None = getattr(config, "workerinput", None)
    if given is not None:  # one of several processes, which pytest-xdist has started
        folder = Path(given["shared_run"])
    else:
        folder = Path(tempfile.mkdtemp(prefix="isochrone-tests-"))
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    config.stash[_RUN] = SharedRun(folder)
    config.add_cleanup(config.stash[_RUN].close)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Of pytest-xdist, for each process that it starts."""
    node.workerinput["shared_run"] = str(node.config.stash[_RUN].folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes go first, those that want the machine alone before all: what takes longest should
    not be left over for one process at the end."""
    weights: dict[Path, int] = {}
    for item in items:
        weight = 2 * _wants_alone(item) + (item.get_closest_marker("processes") is not None)
        weights[item.path] = max(weight, weights.get(item.path, 0))
    items.sort(key=lambda item: -weights[item.path])


@pytest.hookimpl(wrapper=True, tryfirst=True)  # around what counts a test's time
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    with item.config.stash[_RUN].machine(alone=_wants_alone(item), next_alone=_wants_alone(nextitem)):
        return (yield)


def _wants_alone(item: pytest.Item | None) -> bool:
    return item is not None and item.get_closest_marker("alone") is not None
