"""Settles with the quotas of the mesh, in the background, what this router's callers have spent and will need."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from isochrone.deadline import Clock
from isochrone.errors import Overloaded
from isochrone.quotas import Ask, Quotas, QuotasUnavailable
from isochrone_router.allowance import Allowance, Quota

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often is looked for what has to be renewed or given back, with no request to say so."""
GAP_S = 0.02
"""Between two round trips, at least."""
AGAIN_S = 0.5
"""And while the quotas are away."""


class Lessor:
    """The allowances of all callers, and the one task that talks about them."""

    def __init__(self, quotas: Quotas | None, *, boot: int, routers: Callable[[], int], clock: Clock) -> None:
        """Without quotas to ask, this router keeps to its share of all limits; `routers` says of how many it is one."""
        self._quotas = quotas
        self._boot = boot
        self._routers = routers
        self._clock = clock
        self._news = asyncio.Event()
        self.allowances: dict[str, Allowance] = {}
        self.is_alone = quotas is None
        """Whether the quotas can't be asked."""

    def __repr__(self) -> str:
        return f"<Lessor of {len(self.allowances)} callers{', alone' if self.is_alone else ''}>"

    @property
    def has_nobody_to_ask(self) -> bool:
        return self._quotas is None

    def use(self, quotas_of: Mapping[str, Quota]) -> None:
        """From now on these are the callers, with these quotas."""
        for caller, quota in quotas_of.items():
            allowance = self.allowances.get(caller)
            if allowance is None:
                allowance = self.allowances[caller] = Allowance(caller, quota)
            elif allowance.quota != quota:
                allowance.change(quota)
            if self.is_alone:
                allowance.lose(self._clock(), self._routers())
        for gone in self.allowances.keys() - quotas_of.keys():
            del self.allowances[gone]

    def take(self, allowance: Allowance) -> Overloaded | None:
        """What its caller is refused with, if it is. Nothing is waited for."""
        now_s = self._clock()
        refusal = allowance.take(now_s, self._routers())
        if not self._news.is_set() and allowance.is_due(now_s):
            self._news.set()
        return refusal

    async def run(self) -> None:
        """Settles whatever is due, until cancelled."""
        while self._quotas is not None:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._news.wait()
            except TimeoutError:
                pass
            self._news.clear()
            await self._settle(self._quotas)
            await asyncio.sleep(AGAIN_S if self.is_alone else GAP_S)

    async def leave(self) -> None:
        """Gives back all there is."""
        if self._quotas is None or self.is_alone:
            return
        try:
            await self._quotas.settle(self._boot, [one.last_ask() for one in self.allowances.values()])
        except QuotasUnavailable:
            log.debug("left without giving back what was leased")

    async def close(self) -> None:
        if self._quotas is not None:
            await self._quotas.close()

    async def _settle(self, quotas: Quotas) -> None:
        now_s = self._clock()
        due = [one for one in self.allowances.values() if one.is_due(now_s)]
        if not due and not self.is_alone:
            return
        asks: list[Ask] = [allowance.ask(now_s) for allowance in due]
        try:
            answers = await quotas.settle(self._boot, asks)
        except QuotasUnavailable as error:
            if not self.is_alone:
                routers = self._routers()
                log.warning("quotas are out of reach, each router keeps to its share (1 of %d): %s", routers, error)
            self.is_alone = True
            for allowance in self.allowances.values():
                allowance.lose(self._clock(), self._routers())
            return
        now_s = self._clock()
        if self.is_alone:
            log.info("quotas are shared again")
            self.is_alone = False
            for allowance in self.allowances.values():
                allowance.find(now_s, self._routers())
        for allowance, told in zip(due, answers, strict=True):
            allowance.told(told, now_s)
