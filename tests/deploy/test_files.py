"""What deploy/ has for containers is of one piece, and of the same piece as the rest."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from isochrone.cli.check import problems, service_problems
from isochrone.config import load_config

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


@pytest.mark.parametrize("name", ["mesh.yaml", "mesh.gpu.yaml"])
def test_the_meshs_files_can_be_used(name: str) -> None:
    """As `isochrone check` sees them."""
    path = DEPLOY / "compose" / name
    config = load_config(path)
    assert [*service_problems(config, path), *problems(config, path, {})] == []


def test_the_accelerators_mesh_is_the_other_one_and_a_node() -> None:
    """With its lane before the CPU's, for texts."""
    mesh, more = (yaml.safe_load((DEPLOY / "compose" / name).read_text()) for name in ("mesh.yaml", "mesh.gpu.yaml"))
    assert more["nodes"].pop("llm-gpu")["device"] == "cuda"
    for route, settings in more["routes"].items():
        if "Llm" in route:
            assert settings["lanes"].pop(0) == "blurb.fp32@cuda"
    assert more == mesh


def test_nodes_advertise_the_names_of_their_containers() -> None:
    """Or no router would find them; and their health is asked for where they serve."""
    for name, node in load_config(DEPLOY / "compose" / "mesh.gpu.yaml").nodes.items():
        assert node.listen is not None
        assert node.advertise == f"{name}:{node.listen.rpartition(':')[2]}"
        assert node.api == "0.0.0.0:50051"
    assert 'isochrone.healthcheck", "127.0.0.1:50051"' in (DEPLOY / "Dockerfile").read_text()


def test_redis_gets_the_user_that_the_docs_have() -> None:
    """But for the mesh's name, and the password, of which it has the hash."""
    [block] = re.findall(r"```\nACL SETUSER (isochrone .*?)```", (ROOT / "docs/redis-acl.md").read_text(), re.DOTALL)
    documented = block.replace("{isochrone}", "{shop}").replace(">PASSWORD", "#PASSWORD_SHA256").split()
    default, ours = (DEPLOY / "redis" / "users.acl").read_text().splitlines()
    assert default == "user default off"
    assert ours.split() == ["user", *documented]


def test_nothing_listens_beyond_this_machine() -> None:
    """Every published port is on the loopback."""
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == len(set(published)) >= 7
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_little(name: str) -> None:
    """Neither write to its file system, nor become anybody."""
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned_or_our_own(name: str) -> None:
    """Ours are targets of the Dockerfile."""
    service = SERVICES[name]
    if service["image"].startswith("isochrone-"):
        targets = re.findall(r"^FROM \S+ AS (\S+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
        assert service["image"].removeprefix("isochrone-") in targets
    else:
        assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", service["image"])


def test_what_is_mounted_is_there() -> None:
    """Folders and files of deploy/, and declared volumes."""
    for service in SERVICES.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


def test_extras_become_requirements(tmp_path: Path) -> None:
    """Those that extras share are followed; the router needs no torch, and no image the project itself from PyPI."""
    main = runpy.run_path(str(DEPLOY / "requires.py"))["main"]
    main(ROOT / "pyproject.toml", tmp_path)
    needed = {path.stem: path.read_text().splitlines() for path in tmp_path.glob("*.txt")}
    assert {"mesh", "router", "recsys", "vision", "llm", "build", "cli"} <= needed.keys()
    assert set(needed["mesh"]) <= set(needed["llm"])
    assert not any(line.startswith(("torch", "onnxruntime")) for line in needed["router"])
    assert not any(line.startswith("isochrone") for lines in needed.values() for line in lines)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_provisioned_sources(path: Path) -> None:
    """In panels that lie side by side and have numbers of their own."""
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/isochrone.yaml").read_text())["datasources"]
    board = json.loads(path.read_text())
    panels = board["panels"]
    assert board["uid"] == f"isochrone-{path.stem}"
    assert {target["datasource"]["uid"] for panel in panels for target in panel["targets"]} <= {
        source["uid"] for source in sources
    }
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [(x, y) for panel in panels for x, y in _cells(panel["gridPos"])]
    assert len(places) == len(set(places))
    assert max(x for x, _ in places) < 24


def test_the_first_dashboard_is_one_of_ours() -> None:
    """And Grafana looks for them where they are mounted."""
    grafana = SERVICES["grafana"]
    [provider] = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/isochrone.yaml").read_text())["providers"]
    folder = provider["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in grafana["volumes"]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == folder
    assert home.name in {path.name for path in DASHBOARDS}


def _cells(place: dict[str, int]) -> list[tuple[int, int]]:
    return [(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])]
