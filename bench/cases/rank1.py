"""The ranker with one candidate, unary: what a request costs, against servers that do the same."""

from __future__ import annotations

from bench.cores import named
from bench.ranker import CONFIG, METHOD, encoded_requests, model_directory
from bench.result import CaseResult, Verdict, having, spread_of
from bench.runner import Runner
from bench.servers import echo_floor, mesh
from bench.stats import in_digits

TITLE = "the ranker, 1 row a request, unary"
PEERS_US = {"MLServer 1.7.1": 838, "PyTriton 0.7.0": 686}
"""Server CPU per request with the same kind of model at 64 in flight, measured for shared/FACTS.md on a machine of
two cores where the bare echo server took 236 µs."""
FLOOR_THERE_US = 236
FACTOR = 1.5


async def run(runner: Runner) -> CaseResult:
    """The echo server gets the same requests: its cost tells this machine from the one the peers were measured on."""
    servers = runner.cores.all
    payloads = encoded_requests(model_directory(), rows=1)
    for round in range(1, runner.rounds + 1):
        async with mesh(CONFIG, dict.fromkeys(("redis", "router", "node"), servers)) as serving:
            await runner.side("mesh", serving, round=round, method=METHOD, payloads=payloads).closed(64)
        async with echo_floor(servers) as serving:
            await runner.side("floor", serving, round=round, method=METHOD, payloads=payloads).closed(64)
    cpu_us = spread_of(having(runner.measurements, "mesh", "64 in flight"), "cpu_us")
    floor_us = spread_of(having(runner.measurements, "floor", "64 in flight"), "cpu_us")
    return CaseResult(
        name="rank1",
        title=TITLE,
        pinning=f"mesh and floor on {named(servers)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                f"CPU per request at 64 in flight, all mesh processes; {peer} took {peer_us} µs",
                "≤",
                round_us(peer_us / FACTOR),
                "µs",
                cpu_us,
                f"{peer} takes {in_digits(peer_us / cpu_us.median)} x that",
            )
            for peer, peer_us in PEERS_US.items()
        ],
        measurements=runner.measurements,
        notes=[
            f"the peers were measured on another machine of two cores, where the bare echo server took "
            f"{FLOOR_THERE_US} µs a request at 64 in flight; here it takes {floor_us} µs"
        ],
    )


def round_us(value: float) -> float:
    """A limit in whole microseconds, to the strict side."""
    return float(int(value))
