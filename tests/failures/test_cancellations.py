"""Callers go away at every point of a request's way; the others are answered, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import random
from collections import Counter

import pytest

from conftest import StartMesh
from harness import Mesh, RedisServer, Sent, goes_through_redis, send
from isochrone.client import Client

pytestmark = pytest.mark.processes

TOGETHER = 8


CANCELLED_SHARE = 0.4


async def _eight(client: Client, chance: random.Random, *, up_to_s: float, size: int) -> list[str]:
    """Eight requests at once, most of them to be cancelled at some moment up to then, if they aren't answered."""

    async def one(wait_s: float | None) -> str:
        task = asyncio.create_task(send(client, size=size))
        if wait_s is not None:
            await asyncio.sleep(wait_s)
            if task.cancel():
                await asyncio.wait({task})
                return "cancelled" if task.cancelled() else task.result().outcome
        return (await task).outcome

    waits = [chance.uniform(0, up_to_s) if chance.random() < 0.7 else None for _ in range(TOGETHER)]
    return list(await asyncio.gather(*map(one, waits)))


async def _cancel_many(running: Mesh, requests: int, *, size: int = 0, at_once: int = 4) -> Counter[str]:
    """So many requests in eights, some eights at a time. Their callers are as patient as it takes for two in five to
    leave, whatever the machine is busy with."""
    client = running.client()
    warm: list[Sent] = [await send(client, size=size) for _ in range(8)]
    up_to_s = 3 * sorted(sent.took_s for sent in warm)[4]
    outcomes: Counter[str] = Counter()
    chance = random.Random(8)
    left = iter(range(requests // TOGETHER))

    async def keep_going() -> None:
        nonlocal up_to_s
        for _ in left:
            async with asyncio.timeout(20):  # nobody hangs
                outcomes.update(await _eight(client, chance, up_to_s=up_to_s, size=size))
            too_patient = outcomes["cancelled"] < CANCELLED_SHARE * outcomes.total()
            up_to_s *= 0.98 if too_patient else 1.02

    await asyncio.gather(*(keep_going() for _ in range(at_once)))
    await running.at_rest()
    after = [await send(client) for _ in range(20)]
    assert {sent.outcome for sent in after} == {"answered"}
    return outcomes


async def test_ten_thousand_cancellations_in_batches_of_eight(mesh: StartMesh, redis: RedisServer) -> None:
    """Before the lane, in it, on a node, in a batch that runs, on the way back: every place comes up."""
    running = await mesh(redis=redis, options={"sleep_ms": 3, "batch_jobs": TOGETHER})
    await running.until(goes_through_redis)
    outcomes = await _cancel_many(running, 10_000)
    assert set(outcomes) == {"answered", "cancelled"}
    assert min(outcomes.values()) > 2_000, outcomes
    run = len(running.journal.times_run())
    assert outcomes["answered"] < run < 10_000, "some were cancelled before they ran, and some after"


@pytest.mark.parametrize("through", ["lanes", "links"])
async def test_cancellations_while_payloads_are_fetched(mesh: StartMesh, redis: RedisServer, through: str) -> None:
    """Requests of 100 kB, which wait at the router until a node fetches them, or travel with the job."""
    running = await mesh(redis=redis if through == "lanes" else None, options={"sleep_ms": 3})
    if through == "lanes":
        await running.until(goes_through_redis)
    outcomes = await _cancel_many(running, 1_000, size=100_000)
    assert set(outcomes) == {"answered", "cancelled"}
