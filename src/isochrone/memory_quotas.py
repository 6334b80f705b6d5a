"""Quotas for routers of one process."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.deadline import Clock
from isochrone.keys import SLOTS_TTL_MS
from isochrone.quotas import Ask, Bucket, QuotasUnavailable, Slots, Told


class MemoryQuotas:
    """Quotas on one clock. Can be lost, and come back with everybody's full."""

    def __init__(self, clock: Clock) -> None:
        self.is_up = True
        self._clock = clock
        self._buckets: dict[str, Bucket] = {}
        self._slots: dict[str, Slots] = {}

    def __repr__(self) -> str:
        levels = ", ".join(f"{caller} {bucket.level:.1f}" for caller, bucket in self._buckets.items())
        return f"<MemoryQuotas {'up' if self.is_up else 'away'}, {levels or 'untouched'}>"

    async def settle(self, boot: int, asks: Sequence[Ask]) -> Sequence[Told]:
        if not self.is_up:
            raise QuotasUnavailable("they are away")
        return [self._settle(boot, ask) for ask in asks]

    async def close(self) -> None:
        """Nothing to close: others may still use them."""

    def lose(self) -> None:
        self.is_up = False
        self._buckets.clear()
        self._slots.clear()

    def _settle(self, boot: int, ask: Ask) -> Told:
        now_s = self._clock()
        granted, level, held, free = 0, 0.0, 0, 0
        if ask.rate_per_s is not None:
            bucket = self._buckets.setdefault(ask.caller, Bucket(ask.burst, now_s))
            granted = bucket.settle(ask, now_s)
            level = bucket.level
        if ask.limit is not None:
            slots = self._slots.setdefault(ask.caller, Slots())
            held, free = slots.settle(boot, ask, now_s, ttl_s=SLOTS_TTL_MS / 1e3)
        return Told(granted, level, held, free)
