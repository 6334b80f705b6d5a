"""More than the nodes can do: what is still answered in time, what is computed for nobody, and how soon the rest knows.

The nodes sleep, so that capacity doesn't hang on this machine's cores.
"""

from __future__ import annotations

import asyncio
from typing import Any

from bench.cores import named
from bench.result import CaseResult, Measurement, Verdict, having
from bench.runner import MEASURED_AGAIN, Runner
from bench.servers import Serving, mesh
from bench.stats import Spread, in_digits
from isochrone.testing.v1 import toy_pb2

METHOD = "isochrone.testing.v1.Toy/Sleep"
CAPACITY = 2 * 8 / (0.060 + 8 * 0.006)
"""Requests a second of two nodes that run full batches without a pause (configs/overload.yaml)."""
LOADS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
OVER = (2.0, 3.0)
OBJECTIVE_MS = 450
SENT_WITH_S = "2"
"""The timeout of a request: beyond the route's deadline, which is what ends it."""
PATIENT_S = "600"
REPORT_S = 0.4
"""In so long each node has said anew what it has computed."""
MESH, PATIENT = "mesh", "without admission and dropping"
TITLE = f"half to three times of {CAPACITY:.0f} requests a second in one session, {OBJECTIVE_MS} ms for each"


async def run(runner: Runner) -> CaseResult:
    """Each round the mesh under growing load, and then the same mesh with an SLA of an hour."""
    cores = dict.fromkeys(("redis", "router", "node"), runner.cores.all)
    wasted: list[float] = []
    for round in range(1, runner.rounds + 1):
        async with mesh("overload", cores) as serving:
            for load in LOADS:
                share = await _wasted(runner, serving, load, round)
                runner.say(f"round {round} · {share:.2%} of the compute went to what had expired")
                if load in OVER:
                    wasted.append(share)
        for load in LOADS:  # each on a mesh of its own: what is left of one load would be in the next
            async with mesh("overload-patient", cores) as serving:
                await _measured(runner, PATIENT, serving, load, round, timeout_s=PATIENT_S)
    made = runner.measurements
    return CaseResult(
        name="overload",
        title=TITLE,
        pinning=f"mesh on {named(runner.cores.all)}, load on {named(runner.cores.second)}",
        verdicts=[
            *(
                Verdict(
                    f"answers within {OBJECTIVE_MS} ms at {load:g} x capacity, over the most at any load",
                    "≥",
                    0.92,
                    "x",
                    _kept(made, MESH, load),
                    f"of {in_digits(max(each.goodput for each in made if each.contender == MESH))}/s; "
                    f"{PATIENT}: {_kept(made, PATIENT, load)} x",
                )
                for load in OVER
            ),
            Verdict(
                "compute on what had expired, at 2 and 3 x capacity", "≤", 1, "%", Spread.of(100 * s for s in wasted)
            ),
            *(
                Verdict(
                    f"median time to a refusal at {load:g} x capacity",
                    "≤",
                    2,
                    "ms",
                    Spread.of(each.refused_p50_ms for each in having(made, MESH, _what(load))),
                    f"p99 {in_digits(Spread.of(_p99_of_refusals(having(made, MESH, _what(load)))).median)} ms",
                )
                for load in OVER
                if all(each.data["refused"] for each in having(made, MESH, _what(load)))
            ),
        ],
        measurements=made,
        notes=[MEASURED_AGAIN],
    )


async def _wasted(runner: Runner, serving: Serving, load: float, round: int) -> float:
    """Measures the mesh under a load. The share of the compute that went to what had expired."""
    shares: list[float] = []

    async def once() -> Measurement:
        before = await _computed(serving)
        measured = await _measured(runner, MESH, serving, load, round, timeout_s=SENT_WITH_S)
        compute_s, wasted_s = (a - b for a, b in zip(await _computed(serving), before, strict=True))
        shares.append(wasted_s / compute_s if compute_s else 0.0)
        return measured

    await runner.undisturbed(once)
    return shares[-1]


async def _measured(
    runner: Runner, contender: str, serving: Serving, load: float, round: int, *, timeout_s: str
) -> Measurement:
    payloads = [toy_pb2.ToyMessage(body=bytes(100)).SerializeToString()]
    side = runner.side(contender, serving, round=round, method=METHOD, payloads=payloads)
    async with side.promised(load * CAPACITY, str(OBJECTIVE_MS), "--timeout", timeout_s, what=_what(load)) as under_way:
        return await under_way.measured()


def _what(load: float) -> str:
    return f"{load:g} x capacity"


def _kept(made: list[Measurement], contender: str, load: float) -> Spread:
    """Of the most in the same round."""
    ours = [each for each in made if each.contender == contender]
    best = {round: max(each.goodput for each in ours if each.round == round) for round in {each.round for each in ours}}
    return Spread.of(each.goodput / best[each.round] for each in having(made, contender, _what(load)))


def _p99_of_refusals(rounds: list[Measurement]) -> list[float]:
    return [float(each.data["refused_p99_ms"]) for each in rounds]


async def _computed(serving: Serving) -> tuple[float, float]:
    """Seconds that the nodes have computed, and of that for what had expired."""
    await asyncio.sleep(REPORT_S)
    nodes: list[dict[str, Any]] = (await serving.status())["nodes"]
    return sum(node["compute_s"] for node in nodes), sum(node["wasted_s"] for node in nodes)
