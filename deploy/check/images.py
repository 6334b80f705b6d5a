"""The images of deploy/compose.yaml: the project's own from its Dockerfile, the others' stand-ins, and below them all
a Debian in the place of Python's official image."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from deploy.check.engine import Engine

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
STANDINS = Path(__file__).parent / "standins"

_DEBIAN = "bookworm"
_PACKAGES = "python3,python3-venv,python3-pip,ca-certificates"
_BASE = re.compile(r"^ARG PYTHON=(\S+)$", re.MULTILINE)

Say = Callable[[str], None]


class Images:
    """Makes them, from what is cached of them."""

    def __init__(self, engine: Engine, services: Mapping[str, Mapping[str, Any]], *, pip: list[str], say: Say) -> None:
        """`pip` are the options of a build that say where packages come from."""
        self._engine = engine
        self._services = services
        self._say = say
        [self._base] = _BASE.findall(DOCKERFILE.read_text(encoding="utf-8"))
        self._more = [*pip, "--build-arg", f"PYTHON={self._base}"]

    def make(self) -> None:
        """All of them. Raises CheckFailed."""
        self._make_base()
        for name, image in self._others().items():
            self._engine.build(STANDINS / "Dockerfile", name, image, context=STANDINS, more=self._more)
        self._say(f"stand-ins: {', '.join(self._others().values())}")
        for target, image in self._own().items():
            self._engine.build(DOCKERFILE, target, image, context=ROOT, more=self._more)
        base_bytes = self._engine.size_bytes(self._base)
        for image in self._own().values():
            size_bytes = self._engine.size_bytes(image)
            self._say(f"{image}: {size_bytes / 1e6:.0f} MB, {(size_bytes - base_bytes) / 1e6:.0f} MB above its base")

    def _make_base(self) -> None:
        if self._engine.has(self._base):
            return
        with tempfile.TemporaryDirectory(dir=self._engine.folder) as folder:
            debian, archive = f"{folder}/debian", f"{folder}/debian.tar"
            log = self._engine.folder / "debootstrap.log"
            include = f"--include={_PACKAGES}"
            self._engine.run("debootstrap", "--variant=minbase", include, _DEBIAN, debian, log=log)
            self._engine.run("tar", "--exclude=./var/cache/apt/archives/*.deb", "-C", debian, "-cf", archive, ".")
            self._engine.run("podman", "import", archive, self._base)
        self._say(f"{self._base}: a stand-in, Debian {_DEBIAN} with its Python")

    def _others(self) -> dict[str, str]:
        """By service."""
        return {
            name: service["image"]
            for name, service in self._services.items()
            if not service["image"].startswith("isochrone-")
        }

    def _own(self) -> dict[str, str]:
        """By target."""
        built = [service for service in self._services.values() if "build" in service]
        return {service["build"]["target"]: f"localhost/{service['image']}:latest" for service in built}
