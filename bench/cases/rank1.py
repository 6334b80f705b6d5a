"""The ranker with one candidate, unary: what a request costs, against servers that do the same."""

from __future__ import annotations

from math import floor

from bench.cores import named
from bench.ranker import CONFIG, METHOD, encoded_requests, model_directory
from bench.result import CaseResult, Verdict, beside, having, over
from bench.runner import Runner
from bench.servers import echo_floor, mesh

TITLE = "the ranker, 1 row a request, unary"
PEERS = {"MLServer 1.7.1": 838 / 236, "PyTriton 0.7.0": 686 / 236}
"""Server CPU per request with the same kind of model at 64 in flight, over the bare echo server's on the machine of two
cores where both were measured (docs/benchmarks.md). Such ratios hold from machine to machine, microseconds don't."""
FACTOR = 1.5


async def run(runner: Runner) -> CaseResult:
    """The echo server gets the same requests."""
    servers = runner.cores.all
    payloads = encoded_requests(model_directory(), rows=1)
    for round in range(1, runner.rounds + 1):
        async with mesh(CONFIG, dict.fromkeys(("redis", "router", "node"), servers)) as serving:
            await runner.side("mesh", serving, round=round, method=METHOD, payloads=payloads).closed(64)
        async with echo_floor(servers) as serving:
            await runner.side("floor", serving, round=round, method=METHOD, payloads=payloads).closed(64)
    full = having(runner.measurements, "mesh", "64 in flight"), having(runner.measurements, "floor", "64 in flight")
    multiple = over(*full, "cpu_us")
    return CaseResult(
        name="rank1",
        title=TITLE,
        pinning=f"mesh and floor on {named(servers)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                f"CPU per request at 64 in flight, all mesh processes over the floor's; {peer} takes {theirs:.2f} x",
                "≤",
                floor(100 * theirs / FACTOR) / 100,
                "x",
                multiple,
                f"{beside(*full, 'cpu_us', 'µs')}; {peer} takes {theirs / multiple.median:.2f} x that",
            )
            for peer, theirs in PEERS.items()
        ],
        measurements=runner.measurements,
    )
