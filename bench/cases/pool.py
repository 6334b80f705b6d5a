"""A day's load over slow, cheap nodes and a fast, dear one: what answers in time cost, against fixed placements.

A placement that is fixed sends all to one kind of node, or each kind its share, whatever happens. Only such are
compared as answer as many in time as the mesh does, or nearly: it is no art to be cheap for those that one answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from bench.arrivals import LOW
from bench.cores import named
from bench.result import CaseResult, Measurement, Verdict, having, spread_of
from bench.runner import Runner
from bench.servers import Serving, mesh
from bench.stats import Spread
from isochrone.testing.v1 import toy_pb2

METHOD = "isochrone.testing.v1.Toy/Sleep"
PEAK = 400.0
"""Requests a second at noon. The cheap nodes together could do 281, were their batches always full."""
OBJECTIVE_MS = 150
DAY_OF_WINDOW = 4.0
"""A day takes four times the runner's seconds."""
NEARLY = 0.01
"""Of all requests: so many fewer in time are as many."""
SENT_WITH_S = "2"
MESH = "mesh"
PLACEMENTS = {"all cheap": 1.0, "65 % cheap": 0.65, "half cheap": 0.5, "all dear": 0.0}
"""The share that the cheap nodes get."""
TITLE = f"a day from {LOW * PEAK:.0f} to {PEAK:.0f} requests/s over slow, cheap and fast, dear (emulated) nodes"
WHAT = "a day"


async def run(runner: Runner) -> CaseResult:
    """Each round the mesh, and then each placement on servers of its own."""
    ratios: list[float] = []
    against: list[str] = []
    for round in range(1, runner.rounds + 1):
        async with mesh("pool", _cores(runner)) as serving:
            ours = await _day(runner, MESH, serving, [], round)
        fixed = []
        for name, share in PLACEMENTS.items():
            async with _placed(runner, share) as (serving, also):
                fixed.append(await _day(runner, name, serving, also, round))
        able = [each for each in fixed if each.share_in_time >= ours.share_in_time - NEARLY]
        best = min(able or fixed, key=lambda each: each.cost_per_1000)
        ratios.append(ours.cost_per_1000 / best.cost_per_1000)
        against.append(best.contender if able else f"{best.contender}, though none had as many in time")
    made = runner.measurements
    return CaseResult(
        name="pool",
        title=TITLE,
        pinning=f"meshes on {named(runner.cores.all)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                "cost of 1,000 answers in time, over that of the best fixed placement with as many in time",
                "≤",
                0.7,
                "x",
                Spread.of(ratios),
                ", ".join(dict.fromkeys(against)),
            )
        ],
        measurements=made,
        notes=[_in_words(having(made, name, WHAT)) for name in (MESH, *PLACEMENTS)],
    )


async def _day(runner: Runner, name: str, serving: Serving, also: list[str], round: int) -> Measurement:
    payloads = [toy_pb2.ToyMessage(body=bytes(100)).SerializeToString()]
    side = runner.side(name, serving, round=round, method=METHOD, payloads=payloads)
    mode = ("--day", "--timeout", SENT_WITH_S)
    seconds = DAY_OF_WINDOW * runner.seconds
    async with side.promised(PEAK, str(OBJECTIVE_MS), *mode, what=WHAT, seconds=seconds, also=also) as load:
        return await load.measured()


@asynccontextmanager
async def _placed(runner: Runner, share: float) -> AsyncIterator[tuple[Serving, list[str]]]:
    """The mesh of one kind of node, or of both, each with its router; whoever else is sent to, and what share."""
    async with AsyncExitStack() as stack:
        each = [
            await stack.enter_async_context(mesh(config, _cores(runner)))
            for config, part in (("pool-cheap", share), ("pool-dear", 1 - share))
            if part
        ]
        pids = {f"{name} {number}": pid for number, serving in enumerate(each) for name, pid in serving.pids.items()}
        others = [f"{serving.target}={(1 - share) / share:.4f}" for serving in each[1:]]
        yield Serving(each[0].target, pids), others


def _cores(runner: Runner) -> dict[str, frozenset[int]]:
    return dict.fromkeys(("redis", "router", "node"), runner.cores.all)


def _in_words(rounds: list[Measurement]) -> str:
    share, cost = spread_of(rounds, "share_in_time").median, spread_of(rounds, "cost_per_1000").median
    return f"{rounds[0].contender}: {share:.1%} in time, {cost:.3g} per 1,000 of these"
