"""A collector that is stopped and then dies under load: what that does to requests, and to the router's memory."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from bench.cores import named
from bench.result import CaseResult, Verdict, having, over, spread_of
from bench.runner import Runner
from bench.servers import echo_floor, mesh
from bench.stats import Spread, in_digits

TITLE = "echoes of 100 bytes at 300/s, every one traced, to a collector that takes, then is stopped, then is dead"
ECHO = "isochrone.testing.v1.Toy/Echo"
RATE = 300.0
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


async def run(runner: Runner) -> CaseResult:
    """The three one after the other in each round, on a mesh of its own."""
    cores = dict.fromkeys(("redis", "router", "node"), runner.cores.all)
    grown_mb: list[float] = []
    for round in range(1, runner.rounds + 1):
        # Who sends back what it gets takes all that is sent; its answer is never looked at.
        async with echo_floor(runner.cores.second) as collector:
            with _sending_to(f"http://{collector.target}"):
                async with mesh("traced", cores) as serving:
                    router, taking = (psutil.Process(pid) for pid in (serving.pids["router"], collector.pids["floor"]))
                    side = runner.side("traced", serving, round=round, method=ECHO, payloads=[bytes(100)])
                    await side.open(RATE, what="taken")
                    before = router.memory_info().rss
                    taking.send_signal(signal.SIGSTOP)
                    await side.open(RATE, what="stopped")
                    taking.send_signal(signal.SIGKILL)
                    await side.open(RATE, what="dead")
                    grown_mb.append((router.memory_info().rss - before) / 2**20)
    made = runner.measurements
    taken, stopped, dead = (having(made, "traced", what) for what in ("taken", "stopped", "dead"))
    return CaseResult(
        name="collector",
        title=TITLE,
        pinning=f"mesh on {named(runner.cores.all)}, load and collector on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                "requests that failed while the collector was stopped or dead",
                "≤",
                0,
                "",
                Spread.of(each.failed for each in stopped + dead),
            ),
            *(
                Verdict(
                    f"p99 while the collector is {what}, over p99 while it takes all",
                    "≤",
                    1,
                    "ms",
                    over(lost, taken, "p99_ms", minus=True),
                    f"{in_digits(spread_of(lost, 'p99_ms').median)} against "
                    f"{in_digits(spread_of(taken, 'p99_ms').median)} ms",
                )
                for what, lost in (("stopped", stopped), ("dead", dead))
            ),
            Verdict("the router's memory grows meanwhile by", "≤", 8, "MB", Spread.of(grown_mb)),
        ],
        measurements=made,
    )


@contextmanager
def _sending_to(endpoint: str) -> Iterator[None]:
    """For the processes that are started in it."""
    before = os.environ.get(_ENDPOINT)
    os.environ[_ENDPOINT] = endpoint
    try:
        yield
    finally:
        if before is None:
            del os.environ[_ENDPOINT]
        else:
            os.environ[_ENDPOINT] = before
