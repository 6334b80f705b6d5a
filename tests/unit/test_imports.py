"""Imports point one way, and each library is met in few places (docs/architecture.md, "Layers")."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = (ROOT / "src", *sorted((ROOT / "services").iterdir()))

# Bottom first. A module may import from its own layer and from those below; a package stands for all in it.
LAYERS = (
    "errors deadline wall keys ports sockets incidents building methods issuing",
    "shares arrivals",
    "credentials config latency model batching lane answers registry quotas broker status ledger blame tracing spans "
    "process child certificates",
    "telemetry metrics node_metrics",
    "resp redis_lane redis_answers redis_registry redis_quotas redis_broker memory_quotas memory_broker embedded stack",
    "rpc link starting stream_edge otlp export surroundings server_tls",
    "node",
    "client healthcheck",
    "<services>",
    "testing simulator",
    "cli",
)

# Who may import what of others. A package stands for all in it.
CLIENTS = ("isochrone.client", "isochrone.cli")
EDGES = (
    "isochrone_router.session",
    "isochrone.rpc",
    "isochrone.otlp",
    "isochrone.stream_edge",
    "isochrone.server_tls",
    "isochrone.node.node",
    "isochrone_router.router",
)
BUILDS = ("isochrone.building", "isochrone_recsys.build", "isochrone_vision.build", "isochrone_llm.build")
TEXT_MODELS = ("folder", "kv_cache", "llama", "runner", "sampler", "step_loop", "torch_engine")
MAY_IMPORT = {
    "cryptography": ("isochrone.certificates", "isochrone.issuing"),
    "redis": ("isochrone.resp", "isochrone.redis_registry", "isochrone.redis_quotas"),
    "hiredis": ("isochrone.resp",),
    "grpc": (*EDGES, *CLIENTS, "isochrone.healthcheck"),
    "grpc_health": ("isochrone.rpc", "isochrone.healthcheck"),
    "grpc_reflection": ("isochrone.rpc", "isochrone.cli"),
    "opentelemetry": ("isochrone.client.trace", "isochrone.spans", "isochrone.metrics", "isochrone.export"),
    "aiohttp": ("isochrone_router.admin", "isochrone_router.recent_api", "isochrone_router.console"),
    "torch": (*BUILDS, *(f"isochrone_llm.{name}" for name in TEXT_MODELS)),
    "tokenizers": (*BUILDS, "isochrone_llm.codec"),
    "safetensors": (*BUILDS, "isochrone_llm.folder"),
    "onnx": BUILDS,
    "onnxruntime": (*BUILDS, "isochrone_recsys.model", "isochrone_vision.model"),
    "PIL": ("isochrone_vision.photo", "isochrone_vision.build"),
    "rich": (*BUILDS, "isochrone.cli"),
    "typer": ("isochrone.cli",),
    "matplotlib": ("isochrone.simulator.plot",),
    "uvloop": ("isochrone.process", "isochrone.cli"),
}

# Faults of anything at all are caught where they become an incident, or an outcome for whoever waits.
CATCH_EVERYTHING = (
    "isochrone_router.session",
    "isochrone.rpc",
    "isochrone.stream_edge",
    "isochrone.link.node_link",
    "isochrone.node.device",
    "isochrone.node.intake",
    "isochrone.node.streams",
    "isochrone.testing.virtual_time",
    "isochrone_llm.step_loop",
    "isochrone_llm.torch_engine",
)

WALL_CLOCKS = {"time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.strftime", "time.ctime"}
WALL_CLOCKS |= {f"datetime.{name}" for name in ("now", "utcnow", "today")}
WALL_CLOCKS |= {f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")}
TELLS_THE_TIME = ("isochrone.process", "isochrone.wall")  # in log lines, and to other systems


def modules() -> dict[str, ast.Module]:
    """Every hand-written module of the distribution, parsed, by its dotted name."""
    found = {}
    for tree in TREES:
        for path in tree.rglob("*.py"):
            if not path.stem.endswith(("_pb2", "_pb2_grpc")):
                name = ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__")
                found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imports(module: ast.Module) -> Iterator[str]:
    """Dotted names of all that it imports, those inside of functions and for types alone among them."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` imports the module, `from module import name` the module it names.
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def is_in(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def layer(module: str) -> int:
    top, _, inner = module.partition(".")
    wanted = inner.partition(".")[0] if top == "isochrone" else "<services>"
    for index, names in enumerate(LAYERS):
        if wanted in names.split():
            return index
    pytest.fail(f"{module} is in no layer: give it one at the top of this file")


def own_imports(module: str) -> list[str]:
    """What it imports of this distribution, the package's front page and generated stubs aside."""
    return [
        name
        for name in imports(MODULES[module])
        if name.startswith("isochrone")
        and name != "isochrone"
        and not name.partition(".")[2].startswith(("v1", "testing.v1"))
    ]


HAND_WRITTEN = sorted(name for name in MODULES if name != "isochrone")


def test_imports_point_down() -> None:
    """A module imports nothing from a layer above its own."""
    upward = {(module, name) for module in HAND_WRITTEN for name in own_imports(module) if layer(name) > layer(module)}
    assert upward == set()


def test_no_two_modules_import_each_other() -> None:
    """There is an order in which every module comes after all that it imports."""
    left = {module: {name for name in own_imports(module) if name in MODULES} - {module} for module in HAND_WRITTEN}
    # A package's front page comes with each of its modules; what it re-exports is no import of theirs.
    left = {module: {name for name in needs if not module.startswith(f"{name}.")} for module, needs in left.items()}
    while free := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in free:
            del left[module]
    assert left == {}


def test_services_never_import_each_other() -> None:
    """What two of them need belongs into the library."""
    crossing = {
        (module, name)
        for module in HAND_WRITTEN
        if not is_in(module, ("isochrone",))
        for name in own_imports(module)
        if name.partition(".")[0] not in ("isochrone", module.partition(".")[0])
    }
    assert crossing == set()


@pytest.mark.parametrize("library", sorted(MAY_IMPORT))
def test_a_library_is_met_in_few_places(library: str) -> None:
    """So that another could take its place, and no image needs more than its own."""
    users = {name for name in MODULES if any(found.partition(".")[0] == library for found in imports(MODULES[name]))}
    assert {name for name in users if not is_in(name, MAY_IMPORT[library])} == set()
    assert users, f"nobody imports {library} any more"


def test_no_wall_clock_decides_anything() -> None:
    """One that is stepped by an hour changes nothing, because nobody looks at it."""

    def clocks(tree: ast.Module) -> set[str]:
        looks = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        names = {
            f"{node.module}.{a.name}" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for a in node.names
        }
        return (looks | names) & WALL_CLOCKS

    looking = {module for module, tree in MODULES.items() if clocks(tree)}
    assert looking - set(TELLS_THE_TIME) == set()


def test_only_the_edges_catch_everything() -> None:
    """Elsewhere an error that nobody foresaw is to be seen."""

    def catches_everything(tree: ast.Module) -> bool:
        handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
        return any(node.type is None or ast.unparse(node.type) == "Exception" for node in handlers)

    catching = {module for module, tree in MODULES.items() if catches_everything(tree)}
    assert catching == set(CATCH_EVERYTHING)


def test_a_module_opens_with_what_it_is_for() -> None:
    """One sentence, that ends as one."""
    first = {m: (ast.get_docstring(tree) or "").partition("\n\n")[0] for m, tree in MODULES.items() if tree.body}
    assert {module for module, words in first.items() if not words.rstrip().endswith((".", ":", "?"))} == set()
