"""What it costs the router to decide where a request goes, with eight lanes and a hundred nodes that report.

No mesh runs: the planner is asked as often as so many requests a second would, on a clock that the case moves.
"""

from __future__ import annotations

import time

from bench.reporting import Reporting
from bench.result import CaseResult, Verdict
from bench.runner import Runner
from bench.stats import Spread
from isochrone.keys import Tier
from isochrone_router.lane_view import LaneView
from isochrone_router.planner import Ask, Plan
from isochrone_router.plans import Plans

LANES, NODES = 8, 100
RATES = (1_000, 5_000, 20_000)
REQUESTS = 20_000
WAITING = 50
"""Jobs that wait in the lane that plans lead to: so many requests later, each is claimed."""
BUSY_S = {"nodes free": -0.001, "nodes busy for 2 ms": 0.002}
TITLE = f"where a request goes, over {LANES} lanes on {NODES} nodes that report five times a second"


async def run(runner: Runner) -> CaseResult:
    """Each rate in each round, with nodes that are free and nodes that are not."""
    spent: dict[tuple[int, str], list[float]] = {(rate, busy): [] for rate in RATES for busy in BUSY_S}
    for round in range(1, runner.rounds + 1):
        for (rate, busy), found in spent.items():
            us, made = _planned(rate, BUSY_S[busy])
            found.append(us)
            runner.say(f"round {round} · {rate:,}/s, {busy}: {us:.2f} µs a request, {made:.1%} of the plans made anew")
    return CaseResult(
        name="planning",
        title=TITLE,
        pinning="one process",
        verdicts=[
            Verdict(f"CPU of a plan at {rate:,} requests a second, {busy}", "≤", 3, "µs", Spread.of(found))
            for (rate, busy), found in spent.items()
        ],
        measurements=[],
        notes=["what nodes' reports cost is in it: so much a second, whatever the rate"],
    )


def _planned(rate: float, busy_s: float) -> tuple[float, float]:
    """Microseconds of CPU a request, and the share of plans that were made anew."""
    views = [LaneView(f"variant-{number}@cpu") for number in range(LANES)]
    nodes = Reporting(views, nodes=NODES, base_us=1_000, per_unit_us=100, most=64)
    plans = Plans(views)
    waiting: list[tuple[str, float]] = []
    now_s = 100.0
    spent_ns = 0
    for number in range(REQUESTS + REQUESTS // 10):
        now_s += 1 / rate
        if number == REQUESTS // 10:
            spent_ns, before = 0, plans.made
        began_ns = time.thread_time_ns()
        nodes.until(now_s, busy_s=busy_s)
        ask = Ask(1.0, 1, now_s, now_s + 0.015, now_s + 0.1, 0.999, 2048)
        plan = plans.plan(ask)
        spent_ns += time.thread_time_ns() - began_ns
        if isinstance(plan, Plan):
            forecast = plans.options[plan.lane].forecast
            forecast.submitted(Tier.STANDARD, units=1, due_s=ask.due_s, late=False, now_s=now_s)
            waiting.append((plan.lane, ask.due_s))
        if len(waiting) > WAITING or not isinstance(plan, Plan):
            lane, due_s = waiting.pop(0)
            plans.options[lane].forecast.left(Tier.STANDARD, due_s)
    return spent_ns / REQUESTS / 1e3 - _clock_us(), (plans.made - before) / REQUESTS


def _clock_us() -> float:
    """What reading the clock at both ends adds to what lies between."""
    spent_ns = 0
    for _ in range(REQUESTS):
        began_ns = time.thread_time_ns()
        spent_ns += time.thread_time_ns() - began_ns
    return spent_ns / REQUESTS / 1e3
