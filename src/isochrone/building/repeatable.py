"""Training that gives the same numbers every time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def repeatable(*, seed: int) -> Iterator[None]:
    """Inside, torch gives the same numbers every time; after, it is as it was.

    One thread: sums don't depend on how they were split, and on a busy machine two that wait for each other at
    every layer are slower than one.
    """
    was_threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(was_threads)
