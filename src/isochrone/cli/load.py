"""Open-loop load: requests leave when they are due, whether or not the ones before have been answered."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from isochrone.client import Budget
from isochrone.deadline import Clock
from isochrone.errors import IsochroneError

Send = Callable[[], Awaitable[Budget | None]]
"""Sends one request and returns the budget on its answer. Raises isochrone.errors."""


@dataclass(slots=True)
class Tally:
    """What came of the requests so far. Latencies are milliseconds, from the moment a request was due."""

    sent: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    batches: Counter[int] = field(default_factory=Counter)
    """Batch size to the answers that came out of batches of that size."""
    nodes: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    """Answers that the router had within their objective, by their own budgets."""
    took_s: float = 0.0

    @property
    def answered(self) -> int:
        return len(self.latencies_ms)

    def percentile_ms(self, percent: float) -> float:
        """NaN before the first answer."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] if ordered else float("nan")

    def within(self, objective_ms: float) -> float:
        """The fraction of all requests sent that were answered in time; what failed was not."""
        return self._share(sum(latency <= objective_ms for latency in self.latencies_ms))

    def attainment(self) -> float:
        """The fraction of all requests sent that met their objective at the router, as its own status has it."""
        return self._share(self.kept)

    def batch_sizes(self) -> dict[int, float]:
        """Batch size to the number of batches of that size that these answers came out of."""
        return {size: answers / size for size, answers in sorted(self.batches.items())}

    def _share(self, count: int) -> float:
        done = self.answered + self.errors.total()
        return count / done if done else 0.0

    def note(self, latency_ms: float, budget: Budget | None) -> None:
        self.latencies_ms.append(latency_ms)
        if budget is not None:
            self.kept += not budget.missed
            self.nodes[budget.node] += 1
            if budget.batch_jobs:
                self.batches[budget.batch_jobs] += 1


def arrivals_s(rate_per_s: float, burst: int, rng: random.Random) -> Iterator[float]:
    """When requests are due, from now on: bursts come at random (Poisson), as pages with several shelves do."""
    at_s = 0.0
    while True:
        at_s += rng.expovariate(rate_per_s / burst)
        yield from [at_s] * burst


async def capacity_per_s(send: Send, *, at_once: int, seconds: float, clock: Clock = time.monotonic) -> float:
    """Requests a second answered to so many callers that each ask again at once: about what there is room for."""
    answered, until_s = 0, clock() + seconds

    async def caller() -> None:
        nonlocal answered
        while clock() < until_s:
            with suppress(IsochroneError):
                await send()
                answered += 1

    began_s = clock()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    return answered / (clock() - began_s)


async def offer(
    send: Send,
    *,
    rate_per_s: float,
    burst: int,
    seconds: float,
    tally: Tally,
    seed: int = 1,
    clock: Clock = time.monotonic,
) -> None:
    """Sends requests at that mean rate for that long, then waits for the last answers; `tally` is kept current."""
    began_s = clock()

    async def one(due_s: float) -> None:
        try:
            budget = await send()
        except IsochroneError as error:
            tally.errors[type(error).__name__] += 1
        else:
            tally.note((clock() - due_s) * 1e3, budget)

    async with asyncio.TaskGroup() as requests:
        for offset_s in arrivals_s(rate_per_s, burst, random.Random(seed)):
            if offset_s >= seconds:
                break
            due_s = began_s + offset_s
            if (wait_s := due_s - clock()) > 0:
                await asyncio.sleep(wait_s)
            tally.sent += 1
            requests.create_task(one(due_s))
            tally.took_s = clock() - began_s
    tally.took_s = clock() - began_s
