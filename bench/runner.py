"""How a case has measurements made: load generators and floors in processes of their own, on given cores."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.books import LEFT
from bench.cores import Cores, started_on
from bench.load import READY, write_payloads
from bench.result import Measurement
from bench.servers import Serving

TIMEOUT_S = 5.0
"""The deadline of a request where a case sets none."""
STOLEN, AGAIN = 0.15, 2
"""Of a core that the hypervisor took in a window: past it the window is measured again, so often at most."""
MEASURED_AGAIN = f"windows of which the hypervisor took over {STOLEN:g} cores are measured again, {AGAIN} times at most"


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
        bodies = self.folder / f"payloads of {contender}"
        write_payloads(bodies, payloads)
        return Side(self, contender, serving, round, method, bodies)

    async def in_process(self, module: str, *arguments: str, cores: frozenset[int]) -> Any:
        """Runs a module of the benchmark on some cores; gives the JSON that it prints."""
        async with self.started(module, *arguments, cores=cores) as process:
            return await process.printed()

    @asynccontextmanager
    async def started(
        self, module: str, *arguments: str, cores: frozenset[int], nice: int = 0
    ) -> AsyncIterator[Started]:
        """A module of the benchmark that runs on some cores; it is ended with the block."""
        command = (sys.executable, "-m", module, *arguments)
        with started_on(cores):
            process = await asyncio.create_subprocess_exec(
                *(("nice", "-n", str(nice)) if nice else ()), *command, stdout=asyncio.subprocess.PIPE
            )
        try:
            yield Started(module, process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    def note(self, measured: Measurement) -> Measurement:
        """Keeps a measurement, and says it. Raises RuntimeError where nothing was answered, unless only the end of the
        load came before all answers."""
        if not measured.data["answered"] and set(measured.data["errors"]) != {LEFT}:
            why = measured.data["errors"] or "no requests"
            raise RuntimeError(f"{measured.contender}, {measured.what}: nothing was answered: {why}")
        self.measurements.append(measured)
        self.say(in_a_line(measured))
        return measured

    async def undisturbed(self, measure: Callable[[], Awaitable[Measurement]]) -> Measurement:
        """What is measured while the hypervisor takes no more than STOLEN; tried again so often, and what was disturbed
        isn't kept. The last where all were."""
        measured = await measure()
        for _ in range(AGAIN):
            if measured.stolen_cores <= STOLEN:
                break
            self.measurements.remove(measured)
            measured = await measure()
        return measured


@dataclass(frozen=True, slots=True)
class Started:
    """A process of the benchmark that runs."""

    module: str
    process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ready(self) -> None:
        """Once it has said that it begins. Raises RuntimeError where it ends before."""
        assert self.process.stdout is not None
        if (await self.process.stdout.readline()).decode().strip() != READY:
            raise RuntimeError(f"{self.module} did not begin")

    async def printed(self) -> Any:
        """The JSON that it prints at its end. Raises RuntimeError where it fails."""
        output, _ = await self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"{self.module} ended with exit code {self.process.returncode}")
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

    async def closed(
        self, callers: int, *, what: str | None = None, sessions: int = 0, timeout_s: float = TIMEOUT_S
    ) -> Measurement:
        """Closed loop with that many requests in flight, each a call of its own, or over so many sessions."""
        mode = ("--closed", str(callers), "--session", str(sessions), "--timeout", str(timeout_s))
        return await self._load(what or f"{callers} in flight", *mode)

    async def open(
        self, rate: float, *, what: str, sessions: int = 0, beside: Mapping[str, Started] | None = None
    ) -> Measurement:
        """Open loop at a rate. `beside`: load generators that run meanwhile, so that what they use is nobody's else."""
        others = [part for name, each in (beside or {}).items() for part in ("--pid", f"load of {name}={each.pid}")]
        return await self._load(what, "--rate", f"{rate:.3f}", "--session", str(sessions), *others)

    @asynccontextmanager
    async def promised(
        self, rate: float, mix: str, *more: str, what: str, seconds: float | None = None, also: Sequence[str] = ()
    ) -> AsyncIterator[Promised]:
        """An open loop over a session that keeps books of what is answered within the limits of `mix`; it has begun.
        `also`: other routers to send to, each with its share; `more`: as bench/promised_load.py has them."""
        runner = self.runner
        length_s = runner.seconds if seconds is None else seconds
        targets = [part for target in (self.serving.target, *also) for part in ("--target", target)]
        if also:
            targets[1] += "=1"
        command = (
            *targets,
            *("--route", self.method, "--payloads", str(self.bodies), "--announce", "--seed", str(self.round)),
            *("--rate", f"{rate:.3f}", "--mix", mix, "--warmup", str(runner.warmup_s), "--seconds", str(length_s)),
            *more,
            *self._pids(),
        )
        async with runner.started("bench.promised_load", *command, cores=runner.cores.second) as process:
            await process.ready()
            yield Promised(self, what, process)

    @asynccontextmanager
    async def background(self, *mode: str, callers: int, nice: int = 0) -> AsyncIterator[Started]:
        """A closed loop over a session that runs beside another load, and has begun. `mode`: how it ends."""
        how = ("--announce", "--warmup", "0", "--closed", str(callers), "--session", "1")
        cores = self.runner.cores.second
        async with self.runner.started("bench.load", *self._to(), *how, *mode, cores=cores, nice=nice) as process:
            await process.ready()
            yield process

    async def _load(self, what: str, *mode: str) -> Measurement:
        """One window of load from the second core. Raises RuntimeError where nothing was answered."""
        runner = self.runner
        times = ("--warmup", str(runner.warmup_s), "--seconds", str(runner.seconds), "--seed", str(self.round))
        data = await runner.in_process("bench.load", *self._to(), *mode, *times, cores=runner.cores.second)
        return runner.note(Measurement(self.contender, what, self.round, data))

    def _to(self) -> list[str]:
        """What a load generator sends, and whose CPU it reads."""
        target = ["--target", self.serving.target, "--method", f"/{self.method}", "--payloads", str(self.bodies)]
        return target + self._pids()

    def _pids(self) -> list[str]:
        return [part for name, pid in self.serving.pids.items() for part in ("--pid", f"{name}={pid}")]


@dataclass(frozen=True, slots=True)
class Promised:
    """A promised load under way."""

    side: Side
    what: str
    process: Started

    async def measured(self) -> Measurement:
        """What it has found at its end. Raises RuntimeError where nothing was answered."""
        side = self.side
        data = await self.process.printed()
        return side.runner.note(Measurement(side.contender, self.what, side.round, data))


def in_a_line(measured: Measurement) -> str:
    """A measurement as it is said while the benchmark runs."""
    parts = ", ".join(f"{name} {used:.0f}" for name, used in measured.server_cpu_us.items())
    failed = f", {measured.failed} failed" if measured.failed else ""
    return (
        f"round {measured.round} · {measured.contender}, {measured.what}: {measured.rate:,.0f}/s, "
        f"p50 {measured.p50_ms:.2f} ms, p99 {measured.p99_ms:.2f} ms, CPU {measured.cpu_us:.0f} µs ({parts}), "
        f"{_in_time(measured)}elsewhere {measured.busy_elsewhere_cores:.2f} cores, "
        f"of which stolen {measured.stolen_cores:.2f}{failed}"
    )


def _in_time(measured: Measurement) -> str:
    if "in_time" not in measured.data:
        return ""
    refused = f", {measured.data['refused']} refused" if measured.data["refused"] else ""
    return f"{measured.share_in_time:.2%} in time{refused}, "
