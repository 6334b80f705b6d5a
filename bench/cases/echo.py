"""A unary echo of 2 kB through router, lane and node, against one bare grpc.aio server."""

from __future__ import annotations

from bench.cores import named
from bench.result import CaseResult, Measurement, Verdict, beside, having, over
from bench.runner import Runner
from bench.servers import echo_floor, mesh
from isochrone.testing.v1 import toy_pb2

TITLE = "unary echo of 2 kB"
METHOD = "isochrone.testing.v1.Toy/Echo"
SHARE_OF_MESH_RATE = 0.65
"""Of what the mesh reaches closed-loop: the rate at which both are then compared, clear of saturation."""


async def run(runner: Runner) -> CaseResult:
    """Either side may use both cores: a mesh is several processes, and one core would have them wait for each other."""
    servers = runner.cores.all
    payloads = [toy_pb2.ToyMessage(body=bytes(2040)).SerializeToString()]
    for round in range(1, runner.rounds + 1):
        async with mesh("echo", dict.fromkeys(("redis", "router", "node"), servers)) as serving:
            side = runner.side("mesh", serving, round=round, method=METHOD, payloads=payloads)
            rate = SHARE_OF_MESH_RATE * (await side.closed(64)).rate
            await side.open(rate, what="same rate")
            await side.closed(1)
        async with echo_floor(servers) as serving:
            side = runner.side("floor", serving, round=round, method=METHOD, payloads=payloads)
            await side.closed(64)
            await side.open(rate, what="same rate")
            await side.closed(1)
    return CaseResult(
        name="echo",
        title=TITLE,
        pinning=f"mesh and floor on {named(servers)}, load on {named(runner.cores.second)}",
        verdicts=_verdicts(runner),
        measurements=runner.measurements,
    )


def _verdicts(runner: Runner) -> list[Verdict]:
    def both(what: str) -> tuple[list[Measurement], list[Measurement]]:
        return having(runner.measurements, "mesh", what), having(runner.measurements, "floor", what)

    full, rated, alone = both("64 in flight"), both("same rate"), both("1 in flight")
    return [
        Verdict(
            "CPU per request at 64 in flight, all mesh processes over the floor's server",
            "≤",
            2.0,
            "x",
            over(*full, "cpu_us"),
            beside(*full, "cpu_us", "µs"),
        ),
        Verdict(
            f"p50 over the floor's at the same rate, {SHARE_OF_MESH_RATE:.0%} of the mesh's own",
            "≤",
            1.5,
            "ms",
            over(*rated, "p50_ms", minus=True),
            beside(*rated, "p50_ms", "ms"),
        ),
        Verdict(
            "p50 over the floor's, 1 in flight",
            "≤",
            1.0,
            "ms",
            over(*alone, "p50_ms", minus=True),
            beside(*alone, "p50_ms", "ms"),
        ),
    ]
