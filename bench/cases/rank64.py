"""The ranker with 64 candidates: how much of what onnxruntime can do alone is left of it in the mesh."""

from __future__ import annotations

from typing import Any

from bench.cores import named
from bench.ranker import CONFIG, METHOD, encoded_requests, model_directory
from bench.result import CaseResult, Verdict, having, spread_of
from bench.runner import Runner
from bench.servers import mesh
from bench.stats import Spread, in_digits

TITLE = "the ranker, 64 rows a request, unary"
ROWS = 64
SHARE_OF_FLOOR_RATE = 0.7


async def run(runner: Runner) -> CaseResult:
    """The node has the first core, as onnxruntime alone does; router, Redis and the load share the second."""
    node, rest = runner.cores.first, runner.cores.second
    directory = model_directory()
    payloads = encoded_requests(directory, rows=ROWS)
    asked = ("--model", str(directory), "--rows", str(ROWS), "--seconds", str(runner.seconds))
    shares, session_shares, floors = [], [], []
    for round in range(1, runner.rounds + 1):
        floor: dict[str, Any] = await runner.in_process("bench.floor_onnx", *asked, cores=node)
        runner.say(
            f"round {round} · onnxruntime alone: {floor['rows_per_s']:,.0f} rows/s in batches of "
            f"{floor['batch_rows']}, {floor['threads']} thread"
        )
        async with mesh(CONFIG, {"node": node, "router": rest, "redis": rest}) as serving:
            side = runner.side("mesh", serving, round=round, method=METHOD, payloads=payloads)
            full = await side.closed(64)
            shared = await side.closed(64, what="64 in a session", sessions=1)
            await side.open(SHARE_OF_FLOOR_RATE * floor["rows_per_s"] / ROWS, what="70 % of onnxruntime's rate")
        floors.append(floor)
        shares.append(full.rate * ROWS / floor["rows_per_s"])
        session_shares.append(shared.rate * ROWS / floor["rows_per_s"])
    rated = having(runner.measurements, "mesh", "70 % of onnxruntime's rate")
    mesh_rows = ROWS * spread_of(having(runner.measurements, "mesh", "64 in flight"), "rate").median
    session_rows = ROWS * spread_of(having(runner.measurements, "mesh", "64 in a session"), "rate").median
    floor_rows = Spread.of(floor["rows_per_s"] for floor in floors).median
    return CaseResult(
        name="rank64",
        title=TITLE,
        pinning=f"node and onnxruntime alone each on {named(node)}; router, Redis and load on {named(rest)}",
        verdicts=[
            Verdict(
                "rows/s at 64 in flight, over onnxruntime's alone in its best batches",
                "≥",
                0.85,
                "x",
                Spread.of(shares),
                f"{in_digits(mesh_rows)} against {in_digits(floor_rows)} rows/s",
            ),
            Verdict(
                "the same over one session",
                "≥",
                0.85,
                "x",
                Spread.of(session_shares),
                f"{in_digits(session_rows)} against {in_digits(floor_rows)} rows/s",
            ),
            Verdict(
                "p99 at 70 % of onnxruntime's rate, open loop",
                "≤",
                15.0,
                "ms",
                spread_of(rated, "p99_ms"),
                f"p50 {spread_of(rated, 'p50_ms')} ms at {spread_of(rated, 'rate')} requests/s",
            ),
        ],
        measurements=runner.measurements,
        extra={"onnxruntime": floors},
    )
