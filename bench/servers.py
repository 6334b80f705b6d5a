"""What the load goes to: a whole mesh, or the bare echo server that it is compared with."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.cores import started_on
from bench.cpu import pin
from isochrone.config import load_config
from isochrone.stack import Stack

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True, slots=True)
class Serving:
    """Something that answers."""

    target: str
    pids: dict[str, int]
    """Every process whose CPU counts, by name."""
    admin_url: str = ""
    """The router's admin HTTP, where it has one."""

    async def status(self) -> dict[str, Any]:
        """What the router says of itself and its nodes."""
        return await asyncio.to_thread(_fetched, f"{self.admin_url}/status")


def _fetched(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


@asynccontextmanager
async def echo_floor(cores: frozenset[int]) -> AsyncIterator[Serving]:
    """bench/floor_echo.py in its own process, on some cores. Raises RuntimeError if it does not start."""
    with started_on(cores):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.floor_echo", stdout=asyncio.subprocess.PIPE
        )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(20):
            address = (await process.stdout.readline()).decode().strip()
        if not address:
            raise RuntimeError("the echo floor did not start")
        yield Serving(address, {"floor": process.pid})
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


@asynccontextmanager
async def mesh(
    config: str | Path, cores: Mapping[str, frozenset[int]], *, killed: str | None = None
) -> AsyncIterator[Serving]:
    """The mesh of bench/configs/<config>.yaml, or of a file. `cores` of a kind of process, "redis", "router", "node",
    or of one by its name. The child `killed` dies once all are ready.

    Raises isochrone.errors.IsochroneError if it does not start.
    """
    path = config if isinstance(config, Path) else CONFIGS / f"{config}.yaml"
    async with Stack(load_config(path), path) as stack:
        pids = {}
        for child in stack.children:
            assert child.pid is not None
            if child.name == killed:
                child.kill()
                continue
            pids[child.name] = child.pid
            pin(child.pid, set(cores.get(child.name, cores[child.kind])))
        yield Serving(stack.target, pids, stack.admin_url)


def changed(config: str, folder: Path, options: Mapping[str, Mapping[str, Any]]) -> Path:
    """bench/configs/<config>.yaml with other options of node groups, by their names, as a file in a folder."""
    found = yaml.safe_load((CONFIGS / f"{config}.yaml").read_text(encoding="utf-8"))
    for group, given in options.items():
        found["nodes"][group].setdefault("options", {}).update(given)
    path = folder / f"{config}.yaml"
    path.write_text(yaml.safe_dump(found), encoding="utf-8")
    return path
