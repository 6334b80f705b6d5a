"""Text: how much of what the engine makes alone is left of it in the mesh, and how soon the first of it is there."""

from __future__ import annotations

from bench.cores import named
from bench.models import BLURB, built
from bench.result import CaseResult, Measurement, Verdict, beside, having, over, spread_of
from bench.runner import Runner
from bench.servers import mesh

TITLE = "texts of blurb.fp32, 8 sequences side by side, one thread"
FULL, HALF = 16, 4
"""Callers: twice as many as there are sequences, so that none is ever idle, and half as many, so that nobody waits."""


async def run(runner: Runner) -> CaseResult:
    """The node has the first core, as the engine alone does; router, Redis and the callers share the second."""
    node, rest = runner.cores.first, runner.cores.second
    built(BLURB)
    for round in range(1, runner.rounds + 1):
        for callers in (FULL, HALF):
            await _measured(runner, "engine alone", f"{callers} texts", round, "--engine", "--callers", str(callers))
        async with mesh("text", {"node": node, "router": rest, "redis": rest}) as serving:
            to = ["--target", serving.target]
            to += [part for name, pid in serving.pids.items() for part in ("--pid", f"{name}={pid}")]
            for callers in (FULL, HALF):
                await _measured(runner, "mesh", f"{callers} texts", round, *to, "--callers", str(callers))
            await _measured(runner, "mesh", f"{FULL} whole", round, *to, "--callers", str(FULL), "--whole")
    made = runner.measurements
    mesh_full, engine_full = having(made, "mesh", f"{FULL} texts"), having(made, "engine alone", f"{FULL} texts")
    whole = having(made, "mesh", f"{FULL} whole")
    return CaseResult(
        name="llm",
        title=TITLE,
        pinning=f"node and engine alone each on {named(node)}; router, Redis and callers on {named(rest)}",
        verdicts=[
            Verdict(
                "tokens/s of Generate in a session over the engine's alone",
                "≥",
                0.95,
                "x",
                over(mesh_full, engine_full, "tokens_per_s"),
                beside(mesh_full, engine_full, "tokens_per_s", "tokens/s"),
            ),
        ],
        measurements=made,
        notes=[f"tokens/s of Complete over the engine's: {over(whole, engine_full, 'tokens_per_s')} x"]
        + [
            f"{contender}, {callers} texts: first token p50 {spread_of(rounds, 'p50_ms')} ms, "
            f"p99 {spread_of(rounds, 'p99_ms')} ms, {spread_of(rounds, 'tokens_per_s')} tokens/s"
            for callers in (FULL, HALF)
            for contender in ("engine alone", "mesh")
            for rounds in [having(made, contender, f"{callers} texts")]
        ],
    )


async def _measured(runner: Runner, contender: str, what: str, round: int, *asked: str) -> Measurement:
    """One window of callers. The engine alone runs where the node does, callers of the mesh where nobody minds."""
    times = ("--warmup", str(runner.warmup_s), "--seconds", str(runner.seconds))
    cores = runner.cores.first if contender == "engine alone" else runner.cores.second
    data = await runner.in_process("bench.texts", *asked, *times, cores=cores)
    measured = runner.note(Measurement(contender, what, round, data))
    runner.say(f"  {measured.tokens_per_s:,.0f} tokens/s in {data['texts']} texts")
    return measured
