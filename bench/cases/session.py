"""Sessions: what a request costs when many share a stream, against a bare unary echo."""

from __future__ import annotations

from bench.cores import named
from bench.ranker import CONFIG, METHOD, encoded_requests, model_directory
from bench.result import CaseResult, Verdict, beside, having, over
from bench.runner import Runner
from bench.servers import echo_floor, mesh

TITLE = "echo of 2 kB and the ranker at 1 row, over one session"
ECHO = "isochrone.testing.v1.Toy/Echo"
TRITON = 165 / 236
"""Triton's server CPU per request at 64 in flight over the bare echo server's, on the machine of both
(docs/benchmarks.md)."""


async def run(runner: Runner) -> CaseResult:
    """The floor's requests are unary: that is what a session saves."""
    servers = runner.cores.all
    everywhere = dict.fromkeys(("redis", "router", "node"), servers)
    echoes, rankings = [bytes(2048)], encoded_requests(model_directory(), rows=1)
    for round in range(1, runner.rounds + 1):
        async with mesh("echo", everywhere) as serving:
            side = runner.side("mesh", serving, round=round, method=ECHO, payloads=echoes)
            await side.closed(64, what="64 in a session", sessions=1)
            await side.closed(1, what="1 in a session", sessions=1)
            await side.closed(1)
        async with echo_floor(servers) as serving:
            await runner.side("floor", serving, round=round, method=ECHO, payloads=echoes).closed(64)
        async with mesh(CONFIG, everywhere) as serving:
            side = runner.side("ranker", serving, round=round, method=METHOD, payloads=rankings)
            await side.closed(64, what="64 in a session", sessions=1)
            await side.closed(1, what="1 in a session", sessions=1)
            await side.closed(1)
    made = runner.measurements
    full, floor = having(made, "mesh", "64 in a session"), having(made, "floor", "64 in flight")
    ranked = having(made, "ranker", "64 in a session")
    alone, unary = having(made, "mesh", "1 in a session"), having(made, "mesh", "1 in flight")
    ranked_alone, ranked_unary = having(made, "ranker", "1 in a session"), having(made, "ranker", "1 in flight")
    return CaseResult(
        name="session",
        title=TITLE,
        pinning=f"mesh and floor on {named(servers)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                "echo, CPU per request at 64 in flight, all mesh processes over the unary floor's",
                "≤",
                0.4,
                "x",
                over(full, floor, "cpu_us"),
                beside(full, floor, "cpu_us", "µs"),
            ),
            Verdict(
                "echo, requests/s at 64 in flight over the unary floor's",
                "≥",
                4.0,
                "x",
                over(full, floor, "rate"),
                beside(full, floor, "rate", "/s"),
            ),
            Verdict(
                f"ranker at 1 row, CPU per request at 64 in flight over the unary floor's; Triton takes {TRITON:.2f} x",
                "≤",
                0.42,
                "x",
                over(ranked, floor, "cpu_us"),
                beside(ranked, floor, "cpu_us", "µs"),
            ),
            Verdict(
                "echo, p50 alone over unary's",
                "≤",
                0.0,
                "ms",
                over(alone, unary, "p50_ms", minus=True),
                beside(alone, unary, "p50_ms", "ms"),
            ),
            Verdict(
                "ranker at 1 row, p50 alone over unary's",
                "≤",
                0.0,
                "ms",
                over(ranked_alone, ranked_unary, "p50_ms", minus=True),
                beside(ranked_alone, ranked_unary, "p50_ms", "ms"),
            ),
        ],
        measurements=made,
    )
