"""One node of three becomes ten times as slow under load: how soon the others make up for it, at what extra load."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench.cores import named
from bench.result import CaseResult, Verdict
from bench.runner import Runner
from bench.servers import Serving, changed, mesh
from bench.stats import Spread, in_digits
from isochrone.testing.v1 import toy_pb2

METHOD = "isochrone.testing.v1.Toy/Sleep"
RATE = 300.0
"""Requests a second: a quarter of what the three could do, a third of what is left of them."""
FACTOR = 10
WITHIN_S = 2.0
"""So long after it was slowed, answers are to be as quick as before, or nearly."""
BRINK_S = 0.5
"""Before it is slowed: who comes then may still be waiting when it is."""
OBJECTIVE_MS = 150
SENT_WITH_S = "2"
TITLE = f"{RATE:.0f} requests/s on three nodes, of which one becomes {FACTOR} times as slow half way"
WHAT = f"{RATE:.0f}/s"


async def run(runner: Runner) -> CaseResult:
    """Each round a mesh of its own: as long before, as from WITHIN_S after."""
    cores = dict.fromkeys(("redis", "router", "node"), runner.cores.all)
    pace = runner.folder / "pace"
    config = changed("slownode", runner.folder, {"slowed": {"pace_file": str(pace)}})
    payloads = [toy_pb2.ToyMessage(body=bytes(100)).SerializeToString()]
    recovered: list[float] = []
    extra: list[float] = []
    for round in range(1, runner.rounds + 1):
        _write(pace, 1)
        async with mesh(config, cores) as serving:
            side = runner.side("mesh", serving, round=round, method=METHOD, payloads=payloads)
            slow_s = runner.seconds + BRINK_S
            cuts = ("--cuts", f"{runner.seconds},{slow_s},{slow_s + WITHIN_S}", "--timeout", SENT_WITH_S)
            seconds = slow_s + WITHIN_S + runner.seconds
            resent = await _resent(serving)
            async with side.promised(RATE, str(OBJECTIVE_MS), *cuts, what=WHAT, seconds=seconds) as load:
                await asyncio.sleep(runner.warmup_s + slow_s)
                _write(pace, FACTOR)
                measured = await load.measured()
            before, _, meanwhile, after = measured.data["parts"]
            recovered.append(after["answered_p99_ms"] / before["answered_p99_ms"])
            extra.append(100 * (await _resent(serving) - resent) / max(1, measured.data["offered"]))
            for name, part in (("before", before), (f"the first {WITHIN_S:g} s", meanwhile), ("then", after)):
                runner.say(
                    f"round {round} · {name}: p50 {part['answered_p50_ms']:.1f} ms, p99 {part['answered_p99_ms']:.1f} "
                    f"ms, {part['in_time']} of {part['offered']} in time"
                )
    made = runner.measurements
    return CaseResult(
        name="slownode",
        title=TITLE,
        pinning=f"mesh on {named(runner.cores.all)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                f"p99 from {WITHIN_S:g} s after a node was slowed, over p99 before",
                "≤",
                1.5,
                "x",
                Spread.of(recovered),
                f"{_p99(made[0].data['parts'][-1])} against {_p99(made[0].data['parts'][0])} ms in the first round",
            ),
            Verdict("second attempts meanwhile, over requests", "≤", 5, "%", Spread.of(extra)),
        ],
        measurements=made,
        notes=[
            f"round {each.round}, p99 in ms each half second: " + ", ".join(_p99(part) for part in each.data["course"])
            for each in made
        ],
    )


def _p99(part: dict[str, float | None]) -> str:
    value = part["answered_p99_ms"]
    return "none" if value is None else in_digits(value)


def _write(pace: Path, factor: int) -> None:
    """In one step: the node may read it at any moment."""
    new = pace.with_suffix(".new")
    new.write_text(str(factor), encoding="ascii")
    new.replace(pace)


async def _resent(serving: Serving) -> int:
    """Second attempts that the router has made so far."""
    return int((await serving.status())["router"]["resent"])
