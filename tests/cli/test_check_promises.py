"""`isochrone check` refuses objectives that nobody could meet, with the numbers, and says where it has them from."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness import RedisServer
from isochrone.broker import Broker
from isochrone.building.pace import Pace
from isochrone.cli import main
from isochrone.config import load_config
from isochrone.registry import LaneRecord, NodeRecord
from isochrone.surroundings import broker_of

SLEEP = "isochrone.testing.v1.Toy/Sleep"
RANK = "isochrone.v1.Recsys/Rank"


@pytest.fixture(autouse=True)
def no_redis_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ISOCHRONE_REDIS_URL", raising=False)


class Mesh:
    """A mesh's file, and what `isochrone check` says of it."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path = folder / "mesh.yaml"
        self._capsys = capsys
        self.settings: dict[str, Any] = {
            "redis": {"url": "none"},
            "models": str(folder / "models"),
            "routes": {SLEEP: {"objective_ms": 50, "deadline_ms": 100, "lanes": ["sleep@cpu"]}},
            "nodes": {"toy": {"service": "toy", "options": {"sleep_ms": 10}}},
        }

    @property
    def route(self) -> dict[str, Any]:
        route: dict[str, Any] = self.settings["routes"][SLEEP]
        return route

    @property
    def toy(self) -> dict[str, Any]:
        toy: dict[str, Any] = self.settings["nodes"]["toy"]
        return toy

    def write(self) -> None:
        self.path.write_text(yaml.safe_dump(self.settings))

    def line(self, of: str) -> int:
        return 1 + next(i for i, line in enumerate(self.path.read_text().splitlines()) if of in line)

    def check(self) -> tuple[int, str, str]:
        """Exit code, what was said, and what was complained of."""
        self.write()
        with pytest.raises(SystemExit) as left:
            main(["check", str(self.path)])
        printed = self._capsys.readouterr()
        return int(left.value.code or 0), printed.out, printed.err


@pytest.fixture
def mesh(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Mesh:
    return Mesh(tmp_path, capsys)


def test_an_objective_shorter_than_a_toy_sleeps(mesh: Mesh) -> None:
    """By its own options, which are exact."""
    mesh.route["objective_ms"] = 5
    code, _, said = mesh.check()
    assert code == 2
    assert said == (
        f"config error: {mesh.path}:{mesh.line('objective_ms')}: routes.{SLEEP}.objective_ms: 5 ms can't be met: "
        "sleep@cpu takes 10.0 ms for one unit (nodes.toy.options)\n"
    )


def test_one_lane_that_can_meet_it_is_enough(mesh: Mesh) -> None:
    """A smaller variant's or a dearer device's; where none can, the quickest is named."""
    mesh.route.update({"objective_ms": 5, "lanes": ["sleep@cpu", "sleep@emulated-gpu"]})
    mesh.settings["nodes"]["fast"] = {"service": "toy", "device": "emulated-gpu", "options": {"sleep_ms": 2}}
    assert mesh.check()[0] == 0
    mesh.route["objective_ms"] = 1
    code, _, said = mesh.check()
    assert code == 2
    told = "1 ms can't be met: sleep@emulated-gpu takes 2.0 ms for one unit (nodes.fast.options)"
    assert f"{told}, and no lane of the route is quicker" in said
    mesh.toy["options"]["small_ms"] = 0.5
    mesh.route["smaller"] = ["sleep.small@cpu"]
    assert mesh.check()[0] == 0


def test_a_lane_that_nothing_is_known_of_may_be_quick_enough(mesh: Mesh) -> None:
    """Nobody is refused on a guess."""
    mesh.route.update({"objective_ms": 5, "lanes": ["sleep@cpu", "nap@cpu"]})
    assert mesh.check()[0] == 0


def test_a_built_model_was_measured_when_it_was_built(mesh: Mesh, tmp_path: Path) -> None:
    """What it takes beyond doubt is refused; what it takes now and then, by the target, is warned of."""
    folder = tmp_path / "models" / "ranker.fp32"
    folder.mkdir(parents=True)
    Pace(device="cpu", unit="rows", ms=12.0, spread=0.05).write(folder)
    mesh.settings["nodes"] = {"ranking": {"service": "recsys"}}
    route = {"objective_ms": 10, "deadline_ms": 100, "lanes": ["ranker.fp32@cpu"]}
    mesh.settings["routes"] = {RANK: route}
    code, _, said = mesh.check()
    assert code == 2
    assert (
        f"10 ms can't be met: ranker.fp32@cpu takes 12.0 ms for one row (measured when it was built, {folder})" in said
    )
    route["objective_ms"] = 14
    code, told, said = mesh.check()
    assert code == 0
    assert told.startswith("OK ")
    assert (
        f"warning: {mesh.path}:{mesh.line('objective_ms')}: routes.{RANK}.objective_ms: 14 ms won't be met by 99.9 %"
        in said
    )
    assert said.rstrip().endswith("and 99.9 % within 15.7 ms")
    route["objective_ms"] = 20
    assert mesh.check()[2] == ""


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"device": "cpu", "unit": "rows", "ms": NaN, "spread": 0}'])
def test_a_measurement_that_can_not_be_read_is_none(tmp_path: Path, content: str) -> None:
    """It is only a help."""
    (tmp_path / "pace.json").write_text(content)
    assert Pace.read(tmp_path) is None
    Pace("cpu", "rows", 1.0, 0.0).write(tmp_path)
    assert json.loads((tmp_path / "pace.json").read_text())["ms"] == 1.0
    assert Pace.read(tmp_path) == Pace("cpu", "rows", 1.0, 0.0)


@pytest.mark.processes
def test_a_mesh_that_runs_is_asked(mesh: Mesh, tmp_path: Path) -> None:
    """Its nodes' own word, from the registry; a Redis that is away is not waited for."""
    mesh.settings["nodes"] = {}
    mesh.route.update({"objective_ms": 5, "lanes": ["nap@cpu"]})
    redis = RedisServer(logs=tmp_path)
    mesh.settings["redis"] = {"url": redis.url}
    record = NodeRecord(
        boot=1,
        name="node-0",
        address="127.0.0.1:1",
        device="cpu",
        lanes=("nap@cpu",),
        claims=("nap@cpu",),
        latency={"nap@cpu": LaneRecord(base_us=11_000, per_unit_us=1000, spread=0.02, batch_units=8)},
    )

    async def announce(broker: Broker) -> None:
        registry = broker.registry()
        await registry.beat(record)
        await registry.close()

    with asyncio.Runner() as runner:
        runner.run(redis.start())
        try:
            mesh.write()
            broker = broker_of(load_config(mesh.path))
            assert broker is not None
            runner.run(announce(broker))
            code, _, said = mesh.check()
        finally:
            runner.run(redis.close())
    assert code == 2
    assert "5 ms can't be met: nap@cpu takes 12.0 ms for one unit (by node node-0, which runs now)" in said
    assert mesh.check()[0] == 0


def test_a_device_that_no_node_has_is_warned_of(mesh: Mesh) -> None:
    """Its price is for nobody; often it is misspelt."""
    mesh.settings["devices"] = {"cuda": {"cost_per_hour": 3}}
    code, _, said = mesh.check()
    assert code == 0
    assert said == (
        f"warning: {mesh.path}:{mesh.line('cuda')}: devices.cuda: no node group has this device; there is cpu\n"
    )


def test_smaller_lanes_are_served_by_somebody(mesh: Mesh) -> None:
    """Like the others."""
    mesh.route["smaller"] = ["sleep.small@cuda"]
    code, _, said = mesh.check()
    assert code == 2
    assert "smaller: sleep.small@cuda: no node group has device 'cuda'; there is cpu" in said


def test_emulated_devices_are_called_so_and_are_the_toys(mesh: Mesh) -> None:
    """Nobody takes a sleeping toy for an accelerator, nor a real model's times for emulated ones."""
    mesh.toy["device"] = "emulated-gpu"
    mesh.route["lanes"] = ["sleep@emulated-gpu"]
    code, told, _ = mesh.check()
    assert code == 0
    assert "  nodes    1 toy on emulated-gpu (emulated)\n" in told
    mesh.settings["nodes"]["ranking"] = {"service": "recsys", "device": "emulated-cuda"}
    code, _, said = mesh.check()
    assert code == 2
    place = f"{mesh.path}:{mesh.line('emulated-cuda')}: nodes.ranking.device"
    assert f"{place}: emulated-cuda: emulated devices are the toy's; recsys computes on real ones" in said


@pytest.mark.parametrize(
    ("key", "value"),
    [("objective_ms", value) for value in (0, -1, float("nan"), float("inf"), float("-inf"), 3_600_001, "soon", None)]
    + [("deadline_ms", value) for value in (0, -1, float("nan"), float("inf"), 49, 1e300)]
    + [("target", value) for value in (0, 1, -0.5, 99.9, float("nan"))],
)
def test_promises_out_of_range_are_refused(mesh: Mesh, key: str, value: Any) -> None:
    """With the key and what was given; no number of YAML's, or thing that is none, gets through."""
    mesh.route[key] = value
    code, _, said = mesh.check()
    assert code == 2
    assert f"{SLEEP}" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("limits", key, 0) for key in ("inflight", "inflight_bytes", "lane_jobs", "request_bytes")]
    + [("limits", "inflight", -1), ("limits", "lane_jobs", float("inf"))],
)
def test_caps_of_nothing_are_refused(mesh: Mesh, section: str, key: str, value: Any) -> None:
    """A router that takes nothing in is a mistake, not a limit."""
    mesh.settings["router"] = {section: {key: value}}
    code, _, said = mesh.check()
    assert code == 2
    assert f"router.{section}.{key}: " in said


@pytest.mark.parametrize("cost", [0, -1, float("nan"), float("inf")])
def test_devices_cost_something(mesh: Mesh, cost: float) -> None:
    """Of two that cost nothing neither is the cheaper."""
    mesh.settings["devices"] = {"cpu": {"cost_per_hour": cost}}
    code, _, said = mesh.check()
    assert code == 2
    assert "devices.cpu.cost_per_hour: " in said
