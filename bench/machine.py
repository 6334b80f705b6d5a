"""The set-up that figures belong to: machine, versions, and how busy it was before."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from isochrone.embedded import redis_server

_PACKAGES = ("grpcio", "protobuf", "uvloop", "hiredis", "redis", "numpy", "onnxruntime")


def setup() -> dict[str, Any]:
    """What a reader needs to judge the figures, or to measure them again."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_model(),
        "cores": sorted(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "redis_server": _redis_version(),
        "commit": _output("git", "describe", "--always", "--dirty", "--abbrev=12"),
        "load_average_before": os.getloadavg(),
    }


def in_lines(found: dict[str, Any]) -> list[str]:
    """The set-up for people."""
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return [
        f"{found['cpu']}, {len(found['cores'])} cores, {found['memory_gib']} GiB, Linux {found['kernel']}",
        f"Python {found['python']}, {versions}, redis-server {found['redis_server']}",
        f"commit {found['commit']}, {found['when']}, load average before {found['load_average_before'][0]:.2f}",
    ]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _redis_version() -> str:
    server = redis_server()
    words = _output(str(server), "--version").split() if server else []
    return next((word.removeprefix("v=") for word in words if word.startswith("v=")), "none")


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
