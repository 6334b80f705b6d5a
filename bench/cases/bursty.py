"""The highest rate at which bursts are answered in time, against batches that close by size or timer.

The simulator's scenario of that name with all times ten times as long (examples/scenarios/bursty.yaml): on a machine
that others share, what a process is held up for is of the order of the 15 ms that its tightest callers have. Both sides
are the same nodes, router and lanes. Those of the peers are asked with an SLA of a minute, so that nobody is refused or
dropped, and batches run in the order of arrival.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.cores import named
from bench.result import CaseResult, Measurement, Verdict
from bench.runner import MEASURED_AGAIN, Runner
from bench.servers import changed, mesh
from bench.stats import Spread, in_digits
from isochrone.testing.v1 import toy_pb2

METHOD = "isochrone.testing.v1.Toy/Sleep"
CAPACITY = 2 * 64 / (0.020 + 64 * 0.0025)
"""Requests a second of two nodes that run full batches without a pause (configs/bursty.yaml)."""
MIX = "150:5,600:3,5000:2"
CV = 4
ENOUGH = 0.99
"""The share that is to be in time."""
SCREENED = 0.42
"""Of capacity: where the settings of the grid are told apart."""
LEAST, MOST, STEPS = 0.2, 0.8, 5
"""Of capacity: what the highest rate is looked for between, and in how many steps; each halves the ratio of both."""
CHOSEN = 2
"""So many settings, the best under the same load, have their highest rates looked for; then the best of them only."""
OF_WINDOW = 4.0
"""Of the runner's seconds: one burst more or less decides a short window. Three rounds of 5 s take a quarter of an
hour."""
PATIENT_S = "300"
TITLE = (
    f"150, 600 and 5,000 ms mixed 5 to 3 to 2, in bursts (CV {CV}), on two nodes of {CAPACITY:.0f} requests/s together"
)


class Setting(NamedTuple):
    """Of the peers."""

    size: int
    window_ms: float

    def __str__(self) -> str:
        return f"{self.size} jobs or {self.window_ms:g} ms"


GRID = [Setting(size, window_ms) for size in (16, 64) for window_ms in (2.0, 10.0, 50.0)]


async def run(runner: Runner) -> CaseResult:
    """The grid under one load first; then highest rates, round by round."""
    screened = {setting: await _at(runner, setting, SCREENED, 1) for setting in GRID}
    best = sorted(GRID, key=lambda setting: -screened[setting].share_in_time)[:CHOSEN]
    ours: list[float] = []
    theirs: list[float] = []
    for round in range(1, runner.rounds + 1):
        ours.append(await _highest(runner, None, round))
        found = {setting: await _highest(runner, setting, round) for setting in best}
        best = [max(found, key=lambda setting: found[setting])]
        theirs.append(found[best[0]])
        runner.say(f"round {round} · highest rates: {ours[-1]:.0f}/s, and {theirs[-1]:.0f}/s with {best[0]}")
    ratio = Spread.of(a / max(b, LEAST * CAPACITY) for a, b in zip(ours, theirs, strict=True))
    return CaseResult(
        name="bursty",
        title=TITLE,
        pinning=f"mesh on {named(runner.cores.all)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                f"highest rate with {ENOUGH:.0%} in time, over the best of {len(GRID)} settings of size or timer",
                "≥",
                1.3,
                "x",
                ratio,
                f"{in_digits(Spread.of(ours).median)} against {in_digits(Spread.of(theirs).median)}/s ({best[0]})",
            )
        ],
        measurements=runner.measurements,
        notes=[
            MEASURED_AGAIN,
            "all times are ten times the scenario's: this machine's hiccups are of the order of 15 ms",
            f"rates are told apart to {(MOST / LEAST) ** (0.5**STEPS) - 1:.0%}; "
            f"one under {LEAST:.0%} of capacity counts as that",
        ],
    )


async def _highest(runner: Runner, setting: Setting | None, round: int) -> float:
    """Requests a second."""

    async def is_enough(load: float) -> bool:
        return (await _at(runner, setting, load, round)).share_in_time >= ENOUGH

    return CAPACITY * await highest(is_enough, least=LEAST, most=MOST, steps=STEPS)


async def highest(is_enough: Callable[[float], Awaitable[bool]], *, least: float, most: float, steps: int) -> float:
    """By bisection, the highest that was found to be enough; 0 where none was. Steps are even in the logarithm."""
    found = 0.0
    for _ in range(steps):
        tried = (least * most) ** 0.5
        if await is_enough(tried):
            found = least = tried
        else:
            most = tried
    return found


async def _at(runner: Runner, setting: Setting | None, load: float, round: int) -> Measurement:
    """One window: a single one that was disturbed sends the search the wrong way."""
    return await runner.undisturbed(partial(_once, runner, setting, load, round))


async def _once(runner: Runner, setting: Setting | None, load: float, round: int) -> Measurement:
    """One window on freshly started servers: what one load leaves behind is not in the next."""
    cores = dict.fromkeys(("redis", "router", "node"), runner.cores.all)
    config: str | Path = "bursty"
    patience: tuple[str, ...] = ()
    if setting is not None:
        config = changed("bursty-timer", runner.folder, {"toy": setting._asdict()})
        patience = ("--timeout", PATIENT_S)
    payloads = [toy_pb2.ToyMessage(body=bytes(100)).SerializeToString()]
    async with mesh(config, cores) as serving:
        side = runner.side(
            "mesh" if setting is None else str(setting), serving, round=round, method=METHOD, payloads=payloads
        )
        what = f"{load:.2f} of capacity"
        seconds = OF_WINDOW * runner.seconds
        async with side.promised(load * CAPACITY, MIX, "--cv", str(CV), *patience, what=what, seconds=seconds) as load_:
            return await load_.measured()
