"""A second node: whether two that sleep 10 ms a batch answer twice what one does."""

from __future__ import annotations

from bench.cores import named
from bench.result import CaseResult, Verdict, beside, having, over
from bench.runner import Runner
from bench.servers import mesh
from isochrone.testing.v1 import toy_pb2

TITLE = "two nodes that sleep 10 ms for each batch of up to 8"
METHOD = "isochrone.testing.v1.Toy/Sleep"


async def run(runner: Runner) -> CaseResult:
    """Sleeping needs no core, so nothing of the mesh is kept from any; it is one lane that both nodes claim from."""
    cores = dict.fromkeys(("redis", "router", "node"), runner.cores.all)
    payloads = [toy_pb2.ToyMessage(body=bytes(100)).SerializeToString()]
    for round in range(1, runner.rounds + 1):
        for contender, config in (("two nodes", "sleep-two"), ("one node", "sleep-one")):
            async with mesh(config, cores) as serving:
                await runner.side(contender, serving, round=round, method=METHOD, payloads=payloads).closed(64)
    two = having(runner.measurements, "two nodes", "64 in flight")
    one = having(runner.measurements, "one node", "64 in flight")
    return CaseResult(
        name="twonodes",
        title=TITLE,
        pinning=f"mesh on {named(runner.cores.all)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                "requests/s at 64 in flight, two nodes over one",
                "≥",
                1.9,
                "x",
                over(two, one, "rate"),
                beside(two, one, "rate", "requests/s"),
            )
        ],
        measurements=runner.measurements,
    )
