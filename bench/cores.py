"""Which cores what runs on, so that contenders have the same and the load generator is in nobody's way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cores:
    """Two disjoint cores of this machine, or twice the same where it has but one."""

    first: frozenset[int]
    second: frozenset[int]
    all: frozenset[int]

    @classmethod
    def of_this_process(cls) -> Cores:
        allowed = sorted(os.sched_getaffinity(0))
        return cls(frozenset(allowed[:1]), frozenset(allowed[1:2] or allowed), frozenset(allowed))


@contextmanager
def started_on(cores: frozenset[int]) -> Iterator[None]:
    """Processes that are started inside run there, with every thread they make."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def named(cores: frozenset[int]) -> str:
    """For people: "core 0", "cores 0-1"."""
    numbers = ", ".join(map(str, sorted(cores)))
    return f"core {numbers}" if len(cores) == 1 else f"cores {numbers}"
