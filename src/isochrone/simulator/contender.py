"""A contender: how batches are made and where requests go, in one combination, or the best of several."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from isochrone.config.fields import Name, PositiveMs, Section


class Batching(StrEnum):
    """How batches are made."""

    DEADLINE = "deadline"  # this mesh: BatchPolicy
    SIZE_OR_TIMER = "size-or-timer"  # Triton, Ray Serve: so many, or so long after the first
    AIMD = "aimd"  # Clipper: a size that grows while batches are in time, and shrinks where one isn't
    NONE = "none"  # one by one


class Placement(StrEnum):
    """Where requests go."""

    PLANNER = "planner"  # this mesh: planned against the budget, to the lane, or refused
    LANE = "lane"  # a queue that all nodes share, and nothing is refused
    RANDOM = "random"
    ROUND_ROBIN = "round-robin"
    LEAST_LOADED = "least-loaded"  # fewest requests under way


Jobs = Annotated[int, Field(ge=1, le=100_000)]
Part = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Split = dict[Name, Part]


class Contender(Section):
    """One combination. Lists make a grid, of which the best is shown."""

    batching: Batching = Batching.DEADLINE
    placement: Placement = Placement.PLANNER
    jobs: Jobs | tuple[Jobs, ...] = 64
    """size-or-timer: a batch of so many runs at once."""
    timer_ms: PositiveMs | tuple[PositiveMs, ...] = 5.0
    """size-or-timer: what waits runs so long after the first of it came."""
    drops: bool | None = None
    """Whether what has expired is dropped before it is run: this mesh does unless told otherwise, others don't."""
    split: Split | tuple[Split, ...] | None = None
    """A fixed placement: requests go to pools in these parts, whatever happens."""

    @property
    def drops_expired(self) -> bool:
        return self.batching is Batching.DEADLINE if self.drops is None else self.drops

    @property
    def splits(self) -> tuple[Mapping[str, float], ...]:
        """The splits of a grid; none where requests go to all pools alike."""
        if self.split is None:
            return ()
        return self.split if isinstance(self.split, tuple) else (self.split,)

    @property
    def settings(self) -> list[Contender]:
        """Each single combination."""
        timed = self.batching is Batching.SIZE_OR_TIMER
        jobs = self.jobs if timed and isinstance(self.jobs, tuple) else (self.jobs,)
        timers = self.timer_ms if timed and isinstance(self.timer_ms, tuple) else (self.timer_ms,)
        return [
            self.model_copy(update={"jobs": size, "timer_ms": timer, "split": split})
            for size, timer, split in itertools.product(jobs, timers, self.splits or (None,))
        ]

    @property
    def title(self) -> str:
        """Of all its settings."""
        told = f"{self.batching}, {self.placement}"
        if self.batching is Batching.DEADLINE and not self.drops_expired:
            told += ", drops nothing"
        if self.batching is not Batching.DEADLINE and self.drops_expired:
            told += ", drops expired"
        return told

    @property
    def setting(self) -> str:
        """What sets it apart among those."""
        told = []
        if self.batching is Batching.SIZE_OR_TIMER:
            told.append(f"{self.jobs} or {self.timer_ms:g} ms")
        if self.splits:
            parts = self.splits[0]
            whole = sum(parts.values())
            told.append(", ".join(f"{pool} {part / whole * 100:.0f} %" for pool, part in parts.items()))
        return ", ".join(told)

    @model_validator(mode="after")
    def _goes_together(self) -> Contender:
        if self.placement is Placement.PLANNER and self.batching is not Batching.DEADLINE:
            raise ValueError("the planner foretells batches by deadline: other batching takes another placement")
        if self.placement is Placement.PLANNER and self.split is not None:
            raise ValueError("the planner chooses pools by itself: leave split out")
        if any(sum(split.values()) <= 0 for split in self.splits):
            raise ValueError("split: one part at least should be more than 0")
        return self
