"""The load generator, against a small real server."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
from bench.arrivals import poisson_arrivals_s
from bench.load import Alarm, Recorder, open_loop, read_payloads, write_payloads

ROOT = Path(__file__).parents[2]


def test_arrivals_are_poisson_and_repeat_with_their_seed() -> None:
    """Gaps have the mean and the spread of an exponential, within the times asked for."""
    arrivals_s = poisson_arrivals_s(1000, begin_s=50.0, end_s=70.0, seed=7)
    gaps_s = np.diff(arrivals_s)
    assert arrivals_s[0] >= 50.0
    assert arrivals_s[-1] < 70.0
    assert len(arrivals_s) == pytest.approx(20_000, rel=0.03)
    assert gaps_s.mean() == pytest.approx(1e-3, rel=0.03)
    assert gaps_s.std() == pytest.approx(1e-3, rel=0.05)
    assert arrivals_s == poisson_arrivals_s(1000, begin_s=50.0, end_s=70.0, seed=7)
    assert arrivals_s != poisson_arrivals_s(1000, begin_s=50.0, end_s=70.0, seed=8)


def test_payloads_survive_the_file(tmp_path: Path) -> None:
    """Bodies of any length, empty ones too."""
    payloads = [b"", b"a", bytes(range(256)) * 300]
    write_payloads(tmp_path / "bodies", payloads)
    assert read_payloads(tmp_path / "bodies") == payloads


async def test_an_alarm_rings_at_its_moment() -> None:
    """Not before, and where it can much closer than a whole millisecond."""
    alarm = Alarm()
    late_s = []
    for _ in range(20):
        moment_s = time.monotonic() + 0.0013
        await alarm.at(moment_s)
        late_s.append(time.monotonic() - moment_s)
    alarm.close()
    assert min(late_s) >= 0
    assert min(late_s) < 0.001


async def test_latency_is_counted_from_the_scheduled_arrival() -> None:
    """A server that stalls for 100 ms makes all wait that arrive meanwhile, and each wait is in its latency."""
    free_s = time.monotonic() + 0.1

    async def send() -> int:
        await asyncio.sleep(max(0.0, free_s - time.monotonic()))
        return 0

    recorder = Recorder()
    recorder.recording = True
    begin_s = time.monotonic()
    await open_loop(send, recorder, arrivals_s=[begin_s, begin_s + 0.05, begin_s + 0.15])
    at_once, halfway, after = sorted(recorder.latencies_s, reverse=True)
    assert at_once >= 0.095
    assert 0.045 <= halfway < at_once
    assert after < halfway
    assert recorder.finished == 3


@pytest.fixture
async def server() -> AsyncIterator[str]:
    """Echoes; refuses bodies that say so."""

    async def behaviour(payload: bytes, context: Any) -> bytes:
        if payload == b"refuse me":
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "as you wish")
        return payload

    class Everything(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
        def service(self, handler_call_details: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(behaviour)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Everything(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.mark.parametrize("mode", [("--closed", "4"), ("--rate", "200")])
async def test_a_run_prints_rate_latency_errors_and_cpu(server: str, tmp_path: Path, mode: tuple[str, str]) -> None:
    """Closed loop and open, with every fourth request refused."""
    write_payloads(tmp_path / "bodies", [b"x", b"y", b"z", b"refuse me"])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.load", "--target", server, "--method", "/a.B/C", *mode),
        *("--payloads", str(tmp_path / "bodies"), "--warmup", "0.2", "--seconds", "0.5", "--pid", f"me={os.getpid()}"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    found = json.loads(output)
    failed = found["errors"]["RESOURCE_EXHAUSTED"]
    assert found["answered"] / (found["answered"] + failed) == pytest.approx(0.75, abs=0.05)
    assert found["window_s"] == pytest.approx(0.5, abs=0.3)
    assert 0 < found["p50_ms"] <= found["p99_ms"]
    assert set(found["cpu_s"]) == {"load", "me"}
    quantiles = [milliseconds for _, milliseconds in found["quantiles_ms"]]
    assert quantiles == sorted(quantiles)
