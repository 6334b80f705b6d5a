"""deploy/compose.yaml, started by podman-compose in the order that its conditions ask for."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from deploy.check.engine import CheckFailed, Engine

_HEALTHY_S = 60.0


class Composed:
    """The services of one compose file. Podman-compose itself knows no conditions, and no profiles: services are
    started here one by one, each when what it depends on is as its condition says."""

    def __init__(self, engine: Engine, path: Path, *, project: str, password: str) -> None:
        self._engine = engine
        self._path = path
        self._project = project
        self._log = engine.folder / "compose.log"
        self._env = {"ISOCHRONE_REDIS_PASSWORD": password}
        self.services: Mapping[str, Mapping[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["services"]

    def up(self, wanted: set[str]) -> None:
        """Starts them, and what they need first; waits for nothing that nobody needs. Raises CheckFailed."""
        needs = {name: self._needs(name) for name in self.services}
        for name in TopologicalSorter({name: set(needs[name]) for name in needs}).static_order():
            if name in wanted or any(name in needs[other] for other in wanted):
                for needed, condition in needs[name].items():
                    self._wait(needed, condition)
                if not self.runs(name):
                    self._compose("up", "-d", "--no-build", "--no-deps", name)
                    if not self._inspected(name):  # podman-compose itself doesn't mind
                        raise CheckFailed(f"{name} could not be started: see {self._log}")

    def down(self) -> None:
        """Ends them all, and forgets their volumes."""
        self._compose("down", "--volumes")

    def runs(self, name: str) -> bool:
        return bool(self._state(name).get("Running"))

    def wait_healthy(self, name: str, *, within_s: float = _HEALTHY_S) -> None:
        """Until its health check passes. Raises CheckFailed with what it logged."""
        until_s = time.monotonic() + within_s
        while self._engine.tried("podman", "healthcheck", "run", self.container(name))[0]:
            if time.monotonic() > until_s or not self.runs(name):
                raise CheckFailed(f"{name} is not healthy\n{self.log(name)}")
            time.sleep(0.5)

    def execute(self, name: str, *command: str) -> tuple[int, str]:
        """Runs a command in a service's container: its exit code, and what it wrote."""
        return self._engine.tried("podman", "exec", self.container(name), *command)

    def log(self, name: str, lines: int = 20) -> str:
        """The end of what it wrote."""
        command = f"podman logs --tail {lines} {self.container(name)} 2>&1"
        return self._engine.tried("sh", "-c", command)[1]

    def published(self, name: str) -> list[str]:
        """Addresses on this machine, as Podman has them."""
        ports = self._inspected(name).get("HostConfig", {}).get("PortBindings") or {}
        return [
            f"{binding['HostIp']}:{binding['HostPort']}" for bindings in ports.values() for binding in bindings or ()
        ]

    def volume(self, name: str) -> Path:
        """Where a named volume lies."""
        return Path(
            self._engine.run(
                "podman", "volume", "inspect", "--format", "{{.Mountpoint}}", f"{self._project}_{name}"
            ).strip()
        )

    def container(self, name: str) -> str:
        return f"{self._project}_{name}_1"

    def _needs(self, name: str) -> dict[str, str]:
        return {needed: how["condition"] for needed, how in self.services[name].get("depends_on", {}).items()}

    def _wait(self, name: str, condition: str) -> None:
        if condition == "service_healthy":
            self.wait_healthy(name)
        elif condition == "service_completed_successfully":
            code = self._engine.run("podman", "wait", self.container(name)).strip()
            if code != "0":
                raise CheckFailed(f"{name} ended with exit code {code}\n{self.log(name)}")

    def _state(self, name: str) -> dict[str, Any]:
        return dict(self._inspected(name).get("State", {}))

    def _inspected(self, name: str) -> dict[str, Any]:
        code, said = self._engine.tried("podman", "container", "inspect", self.container(name))
        return dict(json.loads(said)[0]) if code == 0 else {}

    def _compose(self, *arguments: str) -> None:
        command = ("podman-compose", "-p", self._project, "-f", str(self._path), *arguments)
        self._engine.run(*command, env=self._env, log=self._log)
