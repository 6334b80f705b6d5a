"""The simulator beside the mesh: whether real nodes do under a load what it says that they do."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.arrivals import poisson_arrivals_s
from bench.cores import named
from bench.result import CaseResult, Measurement, Verdict
from bench.runner import Runner
from bench.servers import CONFIGS, mesh
from bench.stats import Spread, in_digits
from isochrone.config import load_config
from isochrone.simulator.contender import Contender
from isochrone.simulator.outcome import Outcome, outcome
from isochrone.simulator.scenario import Scenario
from isochrone.simulator.world import simulate
from isochrone.testing.toy.settings import options_of
from isochrone.testing.v1 import toy_pb2

TITLE = "three nodes that sleep, and the same three simulated, under the same arrivals"
METHOD = "isochrone.testing.v1.Toy/Sleep"
CONFIG = "simulated"
CALM_PER_S = 10.0
"""Nothing waits: what a request takes beyond its batch is what lies between the parts."""
LOADS = (0.3, 0.6, 0.8)
"""Of what the nodes do with full batches."""
PARTS = 5
"""Three hops, and the router's part twice."""
LIMITS = (("goodput", 0.15), ("p50", 0.15), ("p99", 0.30))
SPREAD = 0.01
"""Of a sleep."""


async def run(runner: Runner) -> CaseResult:
    """Sleeping takes no core. The calm load of each round says how long hops take on this machine now; everything else
    that the simulator is told stands in the configuration."""
    cores = dict.fromkeys(("redis", "router", "node"), runner.cores.all)
    payloads = [toy_pb2.ToyMessage(body=bytes(100)).SerializeToString()]
    ratios: dict[tuple[str, float], list[float]] = {(name, load): [] for name, _ in LIMITS for load in LOADS}
    said: dict[tuple[str, float], list[str]] = {key: [] for key in ratios}
    for round in range(1, runner.rounds + 1):
        async with mesh(CONFIG, cores) as serving:
            side = runner.side("mesh", serving, round=round, method=METHOD, payloads=payloads)
            calm = await side.open(CALM_PER_S, what="calm", sessions=1)
            base = scenario(runner, hop_us=1.0)
            hop_us = max(1.0, (calm.p50_ms - _alone_ms()) * 1e3 / PARTS)
            for load in LOADS:
                rate = load * base.capacity_per_s
                real = await side.open(rate, what=f"{load:g} of capacity", sessions=1)
                loaded = recorded(scenario(runner, hop_us=hop_us), rate, seed=round, folder=runner.folder)
                simulated = outcome(loaded, simulate(loaded, Contender()))
                for (name, _), (theirs, ours) in zip(LIMITS, _pairs(real, simulated, loaded), strict=True):
                    ratios[name, load].append(abs(ours / theirs - 1))
                    said[name, load].append(f"{in_digits(ours)} for {in_digits(theirs)}")
                runner.say(f"round {round} · {load:g} of capacity, simulated for real: {_told(said, load)}")
    return CaseResult(
        name=CONFIG,
        title=TITLE,
        pinning=f"mesh on {named(runner.cores.all)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                f"{name} at {load:g} of capacity, simulated, is off by",
                "≤",
                limit,
                "of it",
                Spread.of(ratios[name, load]),
                "; ".join(said[name, load]),
            )
            for load in LOADS
            for name, limit in LIMITS
        ],
        measurements=runner.measurements,
    )


def scenario(runner: Runner, *, hop_us: float) -> Scenario:
    """The mesh of the configuration, as the simulator has it."""
    config = load_config(CONFIGS / f"{CONFIG}.yaml")
    options = options_of(config.nodes["toy"])
    service = {
        "base_ms": options.sleep_ms,
        "per_unit_ms": options.unit_ms,
        "spread": SPREAD,
        "batch_units": max(options.max_units, options.batch_jobs),
        "batch_jobs": options.batch_jobs,
    }
    return Scenario.model_validate(
        {
            "scenario": CONFIG,
            "duration_s": runner.warmup_s + runner.seconds,
            "warmup_s": runner.warmup_s,
            "routes": {METHOD: config.routes[METHOD].model_dump(exclude_unset=True)},
            "arrivals": {"rate_per_s": 1.0},
            "router": config.router.model_dump(exclude_unset=True),
            "network": {"hop_us": hop_us, "router_us": hop_us},
            "pools": {"toy": {"nodes": config.nodes["toy"].replicas, "serves": {"sleep": service}}},
        }
    )


def recorded(base: Scenario, rate: float, *, seed: int, folder: Path) -> Scenario:
    """The scenario under just the arrivals that the load generator has for this seed."""
    path = folder / f"arrivals-{seed}-{rate:.0f}.csv"
    arrivals_s = poisson_arrivals_s(rate, begin_s=0.0, end_s=base.duration_s, seed=seed)
    # The simulator counts from the first.
    path.write_text("at_s\n" + "".join(f"{at_s:.9f}\n" for at_s in (0.0, *arrivals_s)))
    arrivals = base.arrivals.model_copy(update={"kind": "recorded", "rate_per_s": None, "file": path})
    return base.model_copy(update={"arrivals": arrivals})


def _alone_ms() -> float:
    """What a batch of one sleeps."""
    options = options_of(load_config(CONFIGS / f"{CONFIG}.yaml").nodes["toy"])
    return options.sleep_ms + options.unit_ms


def _pairs(real: Measurement, simulated: Outcome, base: Scenario) -> list[tuple[float, float]]:
    """Real and simulated goodput, p50 and p99."""
    shares, values_ms = np.array(real.data["quantiles_ms"]).T
    in_time = float(np.interp(base.routes[METHOD].objective_ms, values_ms, shares, left=0.0, right=1.0))
    return [
        (real.rate * in_time, simulated.goodput_per_s),
        (real.p50_ms, simulated.p50_ms),
        (real.p99_ms, simulated.p99_ms),
    ]


def _told(said: dict[tuple[str, float], list[str]], load: float) -> str:
    return ", ".join(f"{name} {said[name, load][-1]}" for name, _ in LIMITS)
