"""One client's flood beside another client at ease: whether the first moves the other's p99."""

from __future__ import annotations

from bench.cores import named
from bench.result import CaseResult, Measurement, Verdict, beside, having, over
from bench.runner import Runner
from bench.servers import mesh

TITLE = "a client at 30 % load beside a session that is flooded with 100,000 requests"
ECHO = "isochrone.testing.v1.Toy/Echo"
SHARE_OF_SESSION_RATE = 0.3
"""Of what one session reaches by itself, 64 in flight."""
FLOOD = 100_000
FLOOD_CALLERS = 2048
"""Twice a session's window: there is always more to send than it takes."""
FLOOD_NICE = 10
"""The flood comes from elsewhere: its generator should take no time from the one that measures, where both have one
core."""


async def run(runner: Runner) -> CaseResult:
    """A second flood goes to a mesh of its own on the same cores: what that does, the cores alone have done."""
    servers, load = runner.cores.first, runner.cores.second
    pinned = dict.fromkeys(("redis", "router", "node"), servers)
    bodies = [bytes(2048)]
    notes = []
    for round in range(1, runner.rounds + 1):
        async with mesh("echo", pinned) as serving, mesh("echo", pinned) as apart:
            calm = runner.side("calm", serving, round=round, method=ECHO, payloads=bodies)
            rate = SHARE_OF_SESSION_RATE * (await calm.closed(64, what="64 in a session", sessions=1)).rate
            await calm.open(rate, what="alone", sessions=1)
            short = runner.warmup_s + runner.seconds + 2.0  # the control's need be no longer
            for name, target, seconds in (("a flood", serving, 120.0), ("a flood of another mesh", apart, short)):
                flooding = runner.side("flood", target, round=round, method=ECHO, payloads=bodies)
                enough = ("--count", str(FLOOD), "--seconds", str(seconds))
                async with flooding.background(*enough, callers=FLOOD_CALLERS, nice=FLOOD_NICE) as flood:
                    calmly = await calm.open(rate, what=f"beside {name}", sessions=1, beside={"flood": flood})
                    data = await flood.printed()
                flooded = runner.note(Measurement("flood", name, round, data))
                if (share := calmly.share_within(flooded)) < 1:
                    notes.append(f"round {round}: {name} was over after {share:.0%} of the window beside it")
    made = runner.measurements
    alone, under = having(made, "calm", "alone"), having(made, "calm", "beside a flood")
    control = having(made, "calm", "beside a flood of another mesh")
    return CaseResult(
        name="flood",
        title=TITLE,
        pinning=f"mesh on {named(servers)}, load on {named(load)}",
        verdicts=[
            Verdict(
                "p99 at 30 % load, beside a flood over alone",
                "≤",
                2.0,
                "ms",
                over(under, alone, "p99_ms", minus=True),
                f"{beside(under, alone, 'p99_ms', 'ms')}; a flood of another mesh on the same cores adds "
                f"{over(control, alone, 'p99_ms', minus=True)} ms",
            )
        ],
        measurements=made,
        notes=notes,
    )
