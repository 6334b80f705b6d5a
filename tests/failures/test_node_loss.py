"""A node dies or freezes under load, and the other answers for it within deadlines of 100 ms."""

from __future__ import annotations

import signal

import pytest
from conftest import StartMesh
from harness import Load, RedisServer, Status, goes_through_redis, replayed

pytestmark = pytest.mark.processes

SLA = {"objective_ms": 50, "deadline_ms": 100}


def _both_linked(status: Status) -> bool:
    return [node["state"] for node in status["nodes"]] == ["linked", "linked"]


@pytest.mark.parametrize("through", ["lanes", "links"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
async def test_node_lost_under_load(mesh: StartMesh, redis: RedisServer, number: signal.Signals, through: str) -> None:
    """At least 99.9 % are answered; the rest fail in time with an error that says so, and nobody hangs."""
    running = await mesh(redis=redis if through == "lanes" else None, route=SLA, options={"sleep_ms": 10})
    if through == "lanes":
        await running.until(goes_through_redis)
    lost = running.nodes[0]
    async with Load(running.client(), callers=16) as load:
        await load.answers(500)
        running.stack.kill(lost.name, number)
        await load.answers(1500)
        if number is signal.SIGKILL:
            await running.stack.restart(lost.name)
        else:
            running.stack.kill(lost.name, signal.SIGCONT)
        await running.until(_both_linked)
        await load.answers(1000)
    assert load.answered >= 0.999 * len(load.sent), load.outcomes
    assert set(load.outcomes) <= {"answered", "Unavailable", "DeadlineExceeded"}
    assert replayed(running.journal, load.sent, after_s=0.2) == []
    await running.at_rest()
