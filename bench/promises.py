"""What callers want of their answers' time: one limit for all, or several in given proportions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Promise:
    """A limit that some of the requests have."""

    limit_s: float
    weight: float = 1.0

    @property
    def name(self) -> str:
        return f"{self.limit_s * 1e3:g}"


def promises_of(mix: str) -> list[Promise]:
    """Of "150:5,600:3,5000:2", limits in milliseconds with their weights. Raises ValueError for anything else."""
    found = []
    for part in mix.split(","):
        limit_ms, _, weight = part.partition(":")
        found.append(Promise(float(limit_ms) / 1e3, float(weight or 1)))
    if any(promise.limit_s <= 0 or promise.weight <= 0 for promise in found):
        raise ValueError(f"{mix!r}: limits and weights are over 0")
    return found


def drawn(promises: Sequence[Promise], count: int, *, seed: int) -> list[Promise]:
    """One for each of so many requests; the same for the same seed."""
    weights = np.array([promise.weight for promise in promises])
    picked = np.random.default_rng([seed, 1]).choice(len(promises), size=count, p=weights / weights.sum())
    return [promises[index] for index in picked]
