"""What each tier has had of a node's device lately, what it is owed, and how claims are divided by that."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import ceil, exp
from typing import Protocol

from isochrone.deadline import Clock
from isochrone.keys import TIERS, Tier

LATELY_S = 2.0
"""The device's time is forgotten in about so long."""
LEAST_S = 0.005
"""What a tier lacks is owed once it is more than this: a job out of turn is no injustice."""


class Weighed(Protocol):
    """A job, as far as its tier is charged for it."""

    @property
    def units(self) -> int: ...
    @property
    def tier(self) -> Tier: ...


class Shares:
    """Sees to it that every tier with work gets its least share of the device; what is left goes to higher tiers."""

    def __init__(self, least: Mapping[Tier, float], *, clock: Clock) -> None:
        """`least`: the fraction of the device's time that a tier gets while it has work."""
        self._least = least
        self._clock = clock
        self._used_s = dict.fromkeys(TIERS, 0.0)
        self._since_s = clock()

    def __repr__(self) -> str:
        whole_s = sum(self._used_s.values()) or 1.0
        return f"<Shares {', '.join(f'{tier} {used_s / whole_s:.0%}' for tier, used_s in self._used_s.items())}>"

    def spent(self, jobs: Iterable[Weighed], *, a_unit_s: float) -> None:
        """Jobs have had the device, for so many seconds a unit."""
        self._forget()
        for job in jobs:
            self._used_s[job.tier] += job.units * a_unit_s

    def owed(self, waiting: Collection[Tier]) -> dict[Tier, float]:
        """Of the tiers that have work: how many seconds each is short of its share, the most first."""
        self._forget()
        whole_s = sum(self._used_s.values())
        short = {tier: self._least.get(tier, 0.0) * whole_s - self._used_s[tier] for tier in waiting}
        return {tier: short[tier] for tier in sorted(short, key=lambda tier: -short[tier]) if short[tier] > LEAST_S}

    def divided(self, jobs: int, waiting: Mapping[Tier, int]) -> dict[Tier, int]:
        """How many jobs to claim of each tier, preferred first, going by how many waited there when last counted.

        Of a tier that had none the claim may find some: together they may be more than `jobs`.
        """
        owed = self.owed([tier for tier, count in waiting.items() if count])
        wants = {tier: min(jobs, max(1, ceil(self._least.get(tier, 0.0) * jobs))) for tier in owed}
        left = jobs - sum(min(want, waiting[tier]) for tier, want in wants.items())
        for tier in TIERS:
            if left <= 0:
                break
            before = wants.get(tier, 0)
            wants[tier] = min(jobs, before + left)
            left -= max(0, min(left, waiting.get(tier, 0) - before))
        return wants

    def _forget(self) -> None:
        now_s = self._clock()
        kept = exp((self._since_s - now_s) / LATELY_S)
        self._since_s = now_s
        for tier in self._used_s:
            self._used_s[tier] *= kept
