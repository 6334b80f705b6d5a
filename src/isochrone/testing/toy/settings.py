"""Options of a toy node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from isochrone.config import NodeConfig, validated


class ToyOptions(BaseModel):
    """`options` of a node group with `service: toy`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sleep_ms: float = Field(default=10.0, ge=0, le=60_000)
    """How long a batch of Sleep takes."""
    unit_ms: float = Field(default=0.0, ge=0, le=1_000)
    """And how much longer for each unit in it."""
    small_ms: float | None = Field(default=None, ge=0, le=60_000)
    """How long a batch of Sleep takes by a smaller variant, sleep.small; unset, there is none."""
    spread: float = Field(default=0.0, ge=0, le=2)
    """By how much batches of Sleep differ: the deviation of a normal distribution, of the logarithm of how long one
    takes. The same ones in each run."""
    pace_file: Path | None = None
    """A file with a number, which is read before each batch of Sleep: it takes so many times as long. Without the file,
    or a number in it, as long as ever. Whoever writes it renames a new one into its place."""
    decode_ms: float = Field(default=0.0, ge=0, le=60_000)
    """How long each request of Sleep takes before its batch, by nobody's prediction."""
    batch_jobs: int = Field(default=8, ge=1, le=1024)
    """Requests that sleep together."""
    max_units: int = Field(default=1000, ge=1, le=1_000_000)
    """Units of one request, at most. A node warms up with as many: with `unit_ms`, that takes its time."""
    echo_jobs: int = Field(default=64, ge=1, le=1024)
    """Requests that echo together."""
    step_ms: float = Field(default=1.0, ge=0, le=1_000)
    """How far apart Repeat's chunks are."""
    slots: int = Field(default=8, ge=1, le=1024)
    """Requests that repeat side by side."""
    journal: Path | None = None
    """A file to which Sleep adds a line for each batch it runs: when it began, and the bodies in it."""


def options_of(node: NodeConfig) -> ToyOptions:
    """The group's options, checked. Raises ConfigError."""
    return validated(ToyOptions, node.options, where=lambda _: f"nodes: options of a {node.service} node")


def at_best_ms(node: NodeConfig) -> Mapping[str, tuple[float, str]]:
    """What one request takes that has a single unit, with nothing else to do: by variant, milliseconds and the unit."""
    options = options_of(node)
    best = {"echo": (0.0, "request"), "sleep": (options.sleep_ms + options.unit_ms, "unit")}
    if options.small_ms is not None:
        best["sleep.small"] = (options.small_ms + options.unit_ms, "unit")
    return best | {"repeat": (options.step_ms, "unit")}
