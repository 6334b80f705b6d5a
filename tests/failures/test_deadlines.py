"""Time is up: the caller hears of it in time, and no device works for the dead."""

from __future__ import annotations

import asyncio
import time

import pytest

from conftest import StartMesh
from harness import ONE_BY_ONE, Load, Mesh, RedisServer, Sent, Starvation, goes_through_redis, send
from isochrone.errors import DeadlineExceeded

pytestmark = pytest.mark.processes

TOO_LATE_S = 0.002


def _began_too_late(running: Mesh, sent: list[Sent]) -> list[tuple[bytes, float]]:
    """Bodies with which a forward call began after their deadline, and by how many milliseconds.

    The router counts a deadline from when it received the request; that was at least `total_ms` before the
    answer arrived.
    """
    deadline_s = {
        one.body: one.ended_s + (one.budget.deadline_ms - one.budget.total_ms) / 1e3 for one in sent if one.budget
    }
    late = [
        (body, (forward.began_s - deadline_s[body]) * 1e3)
        for forward in running.journal.forwards()
        for body in forward.bodies
        if body in deadline_s and forward.began_s > deadline_s[body] + TOO_LATE_S
    ]
    return late


@pytest.mark.alone
@pytest.mark.parametrize("through", ["lanes", "links"])
async def test_far_more_than_can_be_done_in_time(mesh: StartMesh, redis: RedisServer, through: str) -> None:
    """At far more than one node can do, each caller has an answer, or hears at once that none would be in time."""
    running = await mesh(
        redis=redis if through == "lanes" else None,
        nodes=1,
        route={"objective_ms": 150, "deadline_ms": 200},
        options={"sleep_ms": 40, "batch_jobs": 4},
    )
    if through == "lanes":
        await running.until(goes_through_redis)
    async with Load(running.client(), callers=80, pause_s=0.02) as load:
        await load.answers(300)
    assert set(load.outcomes) <= {"answered", "Overloaded", "DeadlineExceeded"}
    assert load.outcomes["Overloaded"] > 100
    assert all(sent.budget is not None for sent in load.sent), "the router itself said so, and where the time went"
    assert _began_too_late(running, load.sent) == []
    assert load.answered > 2 * len(running.journal.forwards()), "its batches of four are not spent on the dead"
    await running.at_rest()


@pytest.mark.alone
async def test_a_callers_own_deadline_comes_first(mesh: StartMesh, redis: RedisServer) -> None:
    """A caller with less time than the route gives is told by the router, before its own clock gives up."""
    running = await mesh(redis=redis, nodes=1, options={"sleep_ms": 150} | ONE_BY_ONE)
    await running.until(goes_through_redis)
    client = running.client()
    running_one = asyncio.create_task(send(client))
    await running.until(lambda status: bool(status["router"]["inflight"]))
    async with Starvation(running) as starvation:
        sent = await asyncio.gather(*(send(client, timeout_s=0.1) for _ in range(20)))
    assert {getattr(one.error, "reason", "") for one in sent} == {"INFEASIBLE_DEADLINE"}
    for one in starvation.fair(sent):
        assert one.took_s < 1, one.took_s
        assert one.budget is not None, (one.took_s, str(one.error))
        assert one.budget.deadline_ms <= 102
    assert (await running_one).outcome == "answered"
    await running.at_rest()
    assert not set(running.journal.times_run()) & {one.body for one in sent}, "none of them was run"


async def test_a_deadline_that_has_passed_on_arrival(mesh: StartMesh) -> None:
    """It is refused before it costs anything."""
    running = await mesh(nodes=1)
    client = running.client()
    began_s = time.monotonic()
    sent = [await send(client, timeout_s=0.0002) for _ in range(10)]
    assert {type(one.error) for one in sent} == {DeadlineExceeded}
    assert time.monotonic() - began_s < 2
    await running.at_rest()
    assert not running.journal.times_run()
