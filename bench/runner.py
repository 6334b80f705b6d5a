"""How a case has measurements made: load generators and floors in processes of their own, on given cores."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.cores import Cores, started_on
from bench.load import write_payloads
from bench.result import Measurement
from bench.servers import Serving


@dataclass(slots=True)
class Runner:
    """What a case was asked for, and what was measured so far."""

    rounds: int
    seconds: float
    warmup_s: float
    cores: Cores
    folder: Path
    """For files on the way, such as request bodies."""
    say: Callable[[str], None]
    measurements: list[Measurement] = field(default_factory=list)

    def side(self, contender: str, serving: Serving, *, round: int, method: str, payloads: Sequence[bytes]) -> Side:
        """One contender in one round, ready for load."""
        bodies = self.folder / "payloads"
        write_payloads(bodies, payloads)
        return Side(self, contender, serving, round, method, bodies)

    async def in_process(self, module: str, *arguments: str, cores: frozenset[int]) -> Any:
        """Runs a module of the benchmark on some cores; gives the JSON that it prints."""
        with started_on(cores):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE
            )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise RuntimeError(f"{module} ended with exit code {process.returncode}")
        return json.loads(output)


@dataclass(frozen=True, slots=True)
class Side:
    """A contender that serves, and the request that it gets."""

    runner: Runner
    contender: str
    serving: Serving
    round: int
    method: str
    bodies: Path

    async def closed(self, callers: int, *, what: str | None = None, sessions: int = 0) -> Measurement:
        """Closed loop with that many requests in flight, each a call of its own, or over so many sessions."""
        how = ("--session", str(sessions)) if sessions else ()
        return await self._load(what or f"{callers} in flight", "--closed", str(callers), *how)

    async def open(self, rate: float, *, what: str) -> Measurement:
        """Open loop at a rate."""
        return await self._load(what, "--rate", f"{rate:.3f}")

    async def _load(self, what: str, *mode: str) -> Measurement:
        """One window of load from the second core. Raises RuntimeError where nothing was answered."""
        runner = self.runner
        target = ("--target", self.serving.target, "--method", f"/{self.method}", "--payloads", str(self.bodies))
        times = ("--warmup", str(runner.warmup_s), "--seconds", str(runner.seconds), "--seed", str(self.round))
        pids = [part for name, pid in self.serving.pids.items() for part in ("--pid", f"{name}={pid}")]
        data = await runner.in_process("bench.load", *target, *mode, *times, *pids, cores=runner.cores.second)
        if not data["answered"]:
            raise RuntimeError(f"{self.contender}, {what}: nothing was answered: {data['errors'] or 'no requests'}")
        measured = Measurement(self.contender, what, self.round, data)
        runner.measurements.append(measured)
        runner.say(in_a_line(measured))
        return measured


def in_a_line(measured: Measurement) -> str:
    """A measurement as it is said while the benchmark runs."""
    parts = ", ".join(f"{name} {used:.0f}" for name, used in measured.server_cpu_us.items())
    failed = f", {measured.failed} failed" if measured.failed else ""
    return (
        f"round {measured.round} · {measured.contender}, {measured.what}: {measured.rate:,.0f}/s, "
        f"p50 {measured.p50_ms:.2f} ms, p99 {measured.p99_ms:.2f} ms, CPU {measured.cpu_us:.0f} µs ({parts}), "
        f"elsewhere {measured.busy_elsewhere_cores:.2f} cores{failed}"
    )
