"""The floor of ranking: onnxruntime alone on the ranker, as many rows a call as it does best.

    python -m bench.floor_onnx --model .isochrone/models/ranker.fp32 --rows 64 --seconds 8

Calls run back to back in this one thread on arrays made beforehand; nothing is decoded, batched or encoded.
Each batch size gets a share of the time, in turns, so that all see the same machine. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from bench.ranker import METHOD, encoded_requests
from isochrone_recsys.manifest import MODEL, Manifest
from isochrone_recsys.model import Ranker, feed

REQUESTS_A_CALL = (1, 2, 4, 8, 16)
TURN_S = 0.1

Arrays = dict[str, npt.NDArray[np.generic]]


def open_session(directory: Path, *, threads: int) -> onnxruntime.InferenceSession:
    """The graph with the options that a node gives it, but for those that matter to threads it doesn't have."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    graph = Manifest.read(directory).read_file(directory, MODEL)
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def prepared(directory: Path, *, rows: int) -> dict[int, list[Arrays]]:
    """Arrays of real requests for calls of each size, by requests a call: several sets, to be run in turn."""
    ranker = Ranker(directory)
    ranker.load()
    queries = [ranker.decode(METHOD, request) for request in encoded_requests(directory, rows=rows)]
    shapes = Manifest.read(directory).shapes
    found = {}
    for size in REQUESTS_A_CALL:
        calls = [queries[start : start + size] for start in range(0, len(queries), size)]
        found[size] = [feed(call, [len(query.items) for query in call], shapes) for call in calls]
    return found


def measure(session: onnxruntime.InferenceSession, calls: dict[int, list[Arrays]], seconds: float) -> dict[int, float]:
    """Requests a second for each size of call."""
    done = dict.fromkeys(calls, 0)
    took_s = dict.fromkeys(calls, 0.0)
    begin_s = time.monotonic()
    while not done[max(calls)] or time.monotonic() - begin_s < seconds:
        for size, inputs in calls.items():
            start_s = now_s = time.monotonic()
            while now_s - start_s < TURN_S:
                session.run(["probability"], inputs[done[size] // size % len(inputs)])
                done[size] += size
                now_s = time.monotonic()
            took_s[size] += now_s - start_s
    return {size: done[size] / took_s[size] for size in calls}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.floor_onnx", description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="folder of the built ranker")
    parser.add_argument("--rows", type=int, default=64, help="candidates of each request")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    session = open_session(args.model, threads=args.threads)
    calls = prepared(args.model, rows=args.rows)
    measure(session, calls, 0.0)  # one turn each, to warm up
    rates = measure(session, calls, args.seconds)
    best = max(rates, key=rates.__getitem__)
    found: dict[str, Any] = {
        "threads": args.threads,
        "batch_rows": best * args.rows,
        "rows_per_s": rates[best] * args.rows,
        "rows_per_s_by_batch_rows": {size * args.rows: rate * args.rows for size, rate in rates.items()},
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
