"""A load that keeps books of what it was promised, on paper and against real nodes."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from bench.books import Books, Entry
from bench.cores import Cores
from bench.load import at_each, summary
from bench.promises import Promise, drawn, promises_of
from bench.runner import Runner
from bench.servers import mesh

from isochrone.testing.v1 import toy_pb2

SLEEP = "isochrone.testing.v1.Toy/Sleep"


def test_a_mix_is_limits_with_weights() -> None:
    """Drawn in these proportions, and the same for the same seed."""
    mix = promises_of("150:5,600:3,5000:2")
    assert [promise.limit_s for promise in mix] == [0.15, 0.6, 5.0]
    picked = drawn(mix, 10_000, seed=3)
    counts = Counter(promise.name for promise in picked)
    assert counts["150"] == pytest.approx(5000, rel=0.05)
    assert counts["5000"] == pytest.approx(2000, rel=0.05)
    assert picked == drawn(mix, 10_000, seed=3)
    for wrong in ("", "150:5,x", "0", "150:-1"):
        with pytest.raises(ValueError, match=r"over 0|could not convert"):
            promises_of(wrong)


def _entered(books: Books, at_s: float, took_s: float, code: str = "OK", *, cost: float = 0.0) -> Entry:
    entry = books.opened(at_s, Promise(0.1))
    entry.sent_s, entry.done_s, entry.code, entry.cost, entry.attempts = at_s + 0.001, at_s + took_s, code, cost, 1
    return entry


def test_books_tell_what_was_in_time_late_refused_and_lost() -> None:
    """Of all that was to be sent in the window, from when that was; what came before the window is nobody's."""
    books = Books(begin_s=10, end_s=12)
    _entered(books, 9.9, 0.01)
    _entered(books, 10.1, 0.05, cost=2.0)
    _entered(books, 10.2, 0.15, cost=3.0).attempts = 2
    _entered(books, 11.4, 0.003, "RESOURCE_EXHAUSTED")
    _entered(books, 11.6, 0.4, "DEADLINE_EXCEEDED")
    books.opened(11.9, Promise(0.1))
    books.close()
    found = books.summary([1.0])
    assert (found["offered"], found["in_time"], found["late"], found["refused"]) == (5, 1, 1, 1)
    assert found["cost"] == 5.0
    assert found["second_attempts"] == 1
    assert found["refused_p50_ms"] == pytest.approx(2.0)
    assert [part["offered"] for part in found["course"]] == [2, 0, 1, 2]
    assert [part["in_time"] for part in found["parts"]] == [1, 0]
    assert found["parts"][1]["answered_p99_ms"] is None
    told = summary(books)
    assert told["answered"] == 2
    assert told["errors"] == {"RESOURCE_EXHAUSTED": 1, "DEADLINE_EXCEEDED": 1, "LEFT": 1}


def test_books_of_a_load_that_nobody_answered_say_so() -> None:
    """Its latencies are endless, not missing."""
    books = Books(begin_s=0, end_s=1)
    books.opened(0.5, Promise(0.1))
    books.close()
    assert summary(books)["p50_ms"] == float("inf")


async def test_what_is_not_over_in_time_is_given_up() -> None:
    """And the load ends with it; what fails of itself is no secret."""
    ended: list[float] = []

    async def one(at_s: float) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(at_s)

    await at_each([0.0, 0.0], one, patience_s=0.01)
    assert ended == [0.0, 0.0]

    async def broken(at_s: float) -> None:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        await at_each([0.0], broken, patience_s=1)


async def test_a_promised_load_on_real_nodes(tmp_path: Path) -> None:
    """It says what was in time and what that cost, and the router says what its nodes have computed."""
    cores = Cores.of_this_process()
    runner = Runner(rounds=1, seconds=1, warmup_s=0.2, cores=cores, folder=tmp_path, say=lambda line: None)
    async with mesh("overload", dict.fromkeys(("redis", "router", "node"), cores.all)) as serving:
        body = toy_pb2.ToyMessage(body=b"x").SerializeToString()
        side = runner.side("mesh", serving, round=1, method=SLEEP, payloads=[body])
        async with side.promised(40, "2000", "--timeout", "5", what="40/s") as load:
            measured = await load.measured()
        status = await serving.status()
    assert measured.data["offered"] == pytest.approx(40, abs=25)
    assert measured.share_in_time > 0.5
    assert measured.goodput > 0
    assert measured.cost_per_1000 > 0
    assert {"compute_s", "wasted_s", "dropped"} <= status["nodes"][0].keys()
