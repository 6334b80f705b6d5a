"""What `isochrone up` does about children that end by themselves: starts them again, later and later if need be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from isochrone.deadline import Clock
from isochrone.stack import Stack, StackError

_FIRST_S, _LAST_S = 0.2, 15.0
_HEALTHY_S = 30.0


def pause_s(failures: int) -> float:
    """How long to wait before the start that follows so many failures in a row."""
    return float(min(_FIRST_S * 2 ** (failures - 1), _LAST_S)) if failures < 32 else _LAST_S


class Supervisor:
    """Watches a stack until it is cancelled. A child that has lived for half a minute has a clean record."""

    def __init__(self, stack: Stack, *, say: Callable[[str], None], clock: Clock = time.monotonic) -> None:
        self._stack = stack
        self._say = say
        self._clock = clock
        self._failures: dict[str, int] = {}
        self._started_s: dict[str, float] = {}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as revivals:
            while True:
                exited = await self._stack.next_exit()
                revivals.create_task(self._revive(exited.name, str(exited)))

    async def _revive(self, name: str, reason: str) -> None:
        if self._clock() - self._started_s.get(name, 0.0) > _HEALTHY_S:
            self._failures[name] = 0
        while True:
            self._failures[name] = self._failures.get(name, 0) + 1
            wait_s = pause_s(self._failures[name])
            self._say(f"{reason}; starting it again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
            try:
                await self._stack.restart(name)
            except StackError as error:
                reason = error.message
            else:
                self._started_s[name] = self._clock()
                return
