"""Whether the machine gave the processes of a mesh the cores they wanted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from .load import Sent
from .mesh import Mesh

WATCHED_S = 0.005
STARVED_S = 0.02
"""A request under way while a process waited for a core for that long says nothing of the mesh."""


class Starvation:
    """How long the processes of a mesh, and this one, wanted a core and got none.

    By the kernel's own account of its run queues, by what a hypervisor took from a core, and by how late this process
    woke up. What a machine did not give, a mesh can't make good within 100 ms: tests with such deadlines leave out what
    was starved, and say how much that may be.
    """

    def __init__(self, running: Mesh):
        self._running = running
        self._spells: list[tuple[float, float, float]] = []
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.wait({self._watching})

    def of(self, sent: Sent) -> float:
        """Seconds for which some process had to wait for a core while this request was under way."""
        return sum(waited_s for from_s, to_s, waited_s in self._spells if from_s < sent.ended_s and to_s > sent.began_s)

    def fair(self, sent: Iterable[Sent]) -> list[Sent]:
        """Those that were answered, or had the cores they needed."""
        return [one for one in sent if one.outcome == "answered" or self.of(one) < STARVED_S]

    async def _watch(self) -> None:
        before_s, before = time.monotonic(), self._waited_s() | _stolen_s()
        while True:
            await asyncio.sleep(WATCHED_S)
            now_s, now = time.monotonic(), self._waited_s() | _stolen_s()
            waited_s = max(now[of] - before.get(of, now[of]) for of in now)
            self._spells.append((before_s, now_s, max(waited_s, now_s - before_s - WATCHED_S)))
            before_s, before = now_s, now

    def _waited_s(self) -> dict[int | str, float]:
        """By process, in all its life so far; its main thread, which has the event loop."""
        waited: dict[int | str, float] = {os.getpid(): 0.0}
        for child in (*self._running.routers, *self._running.nodes):
            if child.running and child.pid is not None:
                waited[child.pid] = 0.0
        for pid in waited:
            with contextlib.suppress(OSError):
                waited[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        return waited


def _stolen_s() -> dict[int | str, float]:
    """By core, since the machine started: what other guests of the same host had of it instead (0 on bare metal)."""
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines() if line.startswith("cpu")]
    return {core: int(times[7]) / os.sysconf("SC_CLK_TCK") for core, *times in lines if core != "cpu"}
