"""The demo's load is open loop: what is late counts from when it was due."""

from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from isochrone.cli.load import Tally, arrivals_s, offer
from isochrone.client import Budget
from isochrone.errors import Overloaded
from isochrone.v1.budget_pb2 import BatchInfo, BudgetReport


def answered_by(node: str, jobs: int) -> Budget:
    return Budget(BudgetReport(node=node, batch=BatchInfo(jobs=jobs, units=jobs)))


def test_arrivals_have_the_rate_they_should_and_come_in_bursts() -> None:
    """Random, the same for the same seed."""
    due = list(itertools.islice(arrivals_s(400, 4, random.Random(7)), 40_000))
    assert due == sorted(due)
    assert len(due) / due[-1] == pytest.approx(400, rel=0.05)
    assert len(set(due)) == len(due) / 4


async def test_slow_answers_delay_nobody() -> None:
    """A closed loop would send two requests a second here."""
    tally = Tally()

    async def slow() -> Budget | None:
        await asyncio.sleep(0.5)
        return None

    await offer(slow, rate_per_s=200, burst=1, seconds=0.5, tally=tally)
    assert tally.sent == tally.answered > 50
    assert tally.percentile_ms(50) >= 500


async def test_a_generator_that_was_held_up_says_so_in_the_latencies() -> None:
    """They count from when the request was due, not from when it left."""
    tally, blocked = Tally(), False
    loop = asyncio.get_running_loop()

    async def send() -> Budget | None:
        nonlocal blocked
        if not blocked:
            blocked, until = True, loop.time() + 0.2
            while loop.time() < until:  # holds up the whole loop, the arrivals too
                pass
        return None

    await offer(send, rate_per_s=100, burst=1, seconds=0.3, tally=tally)
    assert tally.percentile_ms(99) >= 150


async def test_what_failed_was_not_in_time() -> None:
    """Errors are counted by kind, and against the attainment."""
    tally, calls = Tally(), itertools.count()

    async def half() -> Budget | None:
        if next(calls) % 2:
            raise Overloaded("full", retry_after_s=0.1)
        return answered_by("n-0", 2)

    await offer(half, rate_per_s=400, burst=2, seconds=0.2, tally=tally)
    assert tally.errors == {"Overloaded": tally.answered}
    assert tally.within(1000) == 0.5
    assert tally.nodes == {"n-0": tally.answered}
    assert tally.batch_sizes() == {2: tally.answered / 2}


def test_an_empty_tally_has_no_figures() -> None:
    """And does not divide by zero."""
    tally = Tally()
    assert tally.within(15) == 0
    assert tally.percentile_ms(99) != tally.percentile_ms(99)
    assert tally.batch_sizes() == {}


def test_percentiles_are_of_the_nearest_rank() -> None:
    """Of what was really seen."""
    tally = Tally(latencies_ms=[float(i) for i in range(1, 101)])
    assert (tally.percentile_ms(0), tally.percentile_ms(50), tally.percentile_ms(99)) == (1, 51, 100)
    assert tally.within(15) == 0.15
