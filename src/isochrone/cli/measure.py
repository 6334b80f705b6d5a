"""Measures how long a model takes for one request of one unit, with nothing else to do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from statistics import mean, median
from time import monotonic

from isochrone.building.pace import Pace
from isochrone.config import MeshConfig, NodeConfig
from isochrone.model import Model, StreamModel

UNTIMED = 5
"""The first ones allocate."""
LEAST_TIMES, MOST_TIMES, MOST_S = 9, 101, 1.0
STREAM_S = 10.0


def measure(package: str, directory: Path) -> Pace:
    """The pace of the model in `directory`, as a node of that service has it on a CPU by default. Raises what loading
    raises: ConfigError, or ModuleNotFoundError where serving takes more than building did."""
    node = NodeConfig(service=package, options={"variant": directory.name})
    config = MeshConfig.model_validate({"models": directory.parent, "routes": _NO_ROUTES})
    [model] = import_module(f"{package}.__main__").make_models(config, node)
    model.load()
    took_s = asyncio.run(_first_parts(model)) if isinstance(model, StreamModel) else _forwards(model)
    middle_s = median(took_s)
    spread = mean(abs(seconds - middle_s) for seconds in took_s) / middle_s
    return Pace(device=node.device, unit=model.unit, ms=round(middle_s * 1e3, 4), spread=round(spread, 4))


# A configuration has at least one; this one's is asked for nothing.
_NO_ROUTES = {"isochrone.Nobody/Asks": {"objective_ms": 1, "deadline_ms": 1, "lanes": ["nobody@cpu"]}}


def _forwards(model: Model) -> Sequence[float]:
    item = model.example(1)
    for _ in range(UNTIMED):
        model.forward([item])
    took_s: list[float] = []
    while _wants_more(took_s):
        began_s = monotonic()
        model.forward([item])
        took_s.append(monotonic() - began_s)
    return took_s


async def _first_parts(model: StreamModel) -> Sequence[float]:
    took_s: list[float] = []
    await model.open()
    try:
        for untimed in range(UNTIMED):
            await _first_part(model, f"untimed {untimed}")
        while _wants_more(took_s):
            took_s.append(await _first_part(model, f"timed {len(took_s)}"))
    finally:
        await model.close(drain_s=0)
    return took_s


async def _first_part(model: StreamModel, name: str) -> float:
    began_s = monotonic()
    answer = model.run(model.example(2), name=name, deadline_s=began_s + STREAM_S)
    first_s = 0.0
    async for _ in answer:  # to its end, so that the next finds nothing else to do
        first_s = first_s or monotonic() - began_s
    return first_s


def _wants_more(took_s: Sequence[float]) -> bool:
    return len(took_s) < LEAST_TIMES or (len(took_s) < MOST_TIMES and sum(took_s) < MOST_S)
