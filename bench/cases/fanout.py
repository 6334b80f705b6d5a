"""Fan-outs: what one costs over its legs asked singly, and when a page is there that can't be whole."""

from __future__ import annotations

from bench.cores import named
from bench.ranker import encoded_requests, model_directory
from bench.result import CaseResult, Measurement, Verdict, beside, having, over, spread_of
from bench.runner import Runner
from bench.servers import mesh
from bench.stats import Spread, in_digits
from isochrone.client import Leg
from isochrone.client.page import FAN_OUT, fan_out_request
from isochrone.testing.v1 import toy_pb2

TITLE = "a page of three echoes of 2 kB; then one of a ranking, a leg that sleeps too long, and one without a node"
RANK = "isochrone.v1.Recsys/Rank"
ECHO, SLEEP = "isochrone.testing.v1.Toy/Echo", "isochrone.testing.v1.Toy/Sleep"
LEGS = 3
PAGES_IN_FLIGHT = 21
"""And three times as many single requests: the same number of legs is under way."""
DEADLINE_S = 0.1
BROKEN_IN_FLIGHT = 4


async def run(runner: Runner) -> CaseResult:
    """Echoes cost next to nothing on the node, so that what a fan-out adds shows the most."""
    cores = dict.fromkeys(("redis", "router", "node"), runner.cores.all)
    echo = bytes(2048)
    pages = [fan_out_request({name: Leg(ECHO, echo) for name in ("first", "second", "third")})]
    sleeping = toy_pb2.ToyMessage(body=bytes(100))
    broken = [
        fan_out_request({"ranking": Leg(RANK, ranking), "slow": Leg(SLEEP, sleeping), "dead": Leg(ECHO, b"")})
        for ranking in encoded_requests(model_directory(), rows=1)
    ]
    singles = f"{LEGS * PAGES_IN_FLIGHT} single requests in flight"
    for round in range(1, runner.rounds + 1):
        async with mesh("echo", cores) as serving:
            side = runner.side("single", serving, round=round, method=ECHO, payloads=[echo])
            await side.closed(LEGS * PAGES_IN_FLIGHT, what=singles, sessions=1)
            side = runner.side("page", serving, round=round, method=FAN_OUT, payloads=pages)
            await side.closed(PAGES_IN_FLIGHT, sessions=1)
        async with mesh("page", cores, killed="dead-0") as serving:
            side = runner.side("broken page", serving, round=round, method=FAN_OUT, payloads=broken)
            await side.closed(BROKEN_IN_FLIGHT, what="as calls", timeout_s=DEADLINE_S)
            await side.closed(BROKEN_IN_FLIGHT, what="in a session", sessions=1, timeout_s=DEADLINE_S)
    made = runner.measurements
    page, single = having(made, "page", f"{PAGES_IN_FLIGHT} in flight"), having(made, "single", singles)
    ratios = over(page, single, "cpu_us")
    called, sessioned = having(made, "broken page", "as calls"), having(made, "broken page", "in a session")
    answered = Spread.of(each.data["answered"] / (each.data["answered"] + each.failed) for each in called + sessioned)
    return CaseResult(
        name="fanout",
        title=TITLE,
        pinning=f"mesh on {named(runner.cores.all)}, load on {named(runner.cores.second)}",
        verdicts=[
            Verdict(
                f"CPU of a page of {LEGS} legs, over that of its legs asked singly in the same session",
                "≤",
                1.3,
                "x",
                Spread(ratios.median / LEGS, ratios.low / LEGS, ratios.high / LEGS),
                f"{in_digits(spread_of(page, 'cpu_us').median)} against {LEGS} times "
                f"{in_digits(spread_of(single, 'cpu_us').median)} µs",
            ),
            Verdict(
                "broken pages that were answered, and not with an error",
                "≥",
                0.999,
                "of 1",
                answered,
                f"{sum(each.failed for each in called + sessioned)} failed",
            ),
            *_in_time("as a call", called),
            *_in_time("in a session", sessioned),
        ],
        measurements=made,
        notes=[beside(page, single, "rate", "/s: pages and single requests")],
    )


def _in_time(how: str, rounds: list[Measurement]) -> list[Verdict]:
    """Not after the caller's deadline, and not long before it. What counts is when the caller has the page."""
    left_ms = Spread.of(DEADLINE_S * 1e3 - each.p99_ms for each in rounds)
    target = f"broken page {how}, p99 before the caller's deadline of {DEADLINE_S * 1e3:g} ms"
    median = f"the median page {in_digits(DEADLINE_S * 1e3 - spread_of(rounds, 'p50_ms').median)} ms before it"
    return [Verdict(target, "≥", 0.0, "ms", left_ms, median), Verdict(target, "≤", 2.0, "ms", left_ms, median)]
