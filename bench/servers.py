"""What the load goes to: a whole mesh, or the bare echo server that it is compared with."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

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
    config: str, cores: Mapping[str, frozenset[int]], *, killed: str | None = None
) -> AsyncIterator[Serving]:
    """The mesh of bench/configs/<config>.yaml. `cores` of a kind of process, "redis", "router", "node", or of one by
    its name. The child `killed` dies once all are ready.

    Raises isochrone.errors.IsochroneError if it does not start.
    """
    path = CONFIGS / f"{config}.yaml"
    async with Stack(load_config(path), path) as stack:
        pids = {}
        for child in stack.children:
            assert child.pid is not None
            if child.name == killed:
                child.kill()
                continue
            pids[child.name] = child.pid
            pin(child.pid, set(cores.get(child.name, cores[child.kind])))
        yield Serving(stack.target, pids)
