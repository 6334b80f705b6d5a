"""Quotas that all routers of a mesh share: what a router asks of them for a caller, and what it is told.

A rate is a bucket of tokens that fills with time. A router takes tokens ahead of requests (a lease) and, where it has
none left, lets a few requests go first and pays for them afterwards (a debt): the bucket's level may go below zero, and
nobody gets more until it is above. So a debt is always paid, and over time no more than the rate is admitted.

Concurrency is a number of slots. Each router holds some, of which its requests under way use a part; what it holds
expires unless it is renewed, so the slots of a router that died come back.

`isochrone.redis_quotas` has the quotas that processes share, `isochrone.memory_quotas` their twin in memory. The
arithmetic is here, in Python, and once more in the script that Redis runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol


class Ask(NamedTuple):
    """What a router says and wants of one caller's quotas."""

    caller: str
    rate_per_s: float | None = None
    """None: the caller has no rate."""
    burst: int = 1
    debt: int = 0
    """Tokens spent that were not leased."""
    give_back: int = 0
    """Leased tokens that nobody needs."""
    want: int = 0
    """Tokens to lease, at most."""
    limit: int | None = None
    """Slots of all routers; None: the caller has no limit."""
    in_use: int = 0
    """Slots that requests under way hold, granted or not."""
    slots: int = 0
    """Slots to hold, at most; 0 with none in use: to hold none any more."""


class Told(NamedTuple):
    """And what it is told."""

    granted: int = 0
    """Tokens leased."""
    level: float = 0.0
    """Tokens left for everybody."""
    slots: int = 0
    """Slots to use from now on; fewer than are in use, where those were too many."""
    free: int = 0
    """Slots that nobody holds."""


class QuotasUnavailable(Exception):
    """The quotas can't be asked just now."""


class Quotas(Protocol):
    """The quotas of a mesh, as one router asks for them."""

    async def settle(self, boot: int, asks: Sequence[Ask]) -> Sequence[Told]:
        """All in one step and one round trip, for the router of that boot id. Raises QuotasUnavailable; then it may
        have happened or not, which costs the caller tokens and gives it none."""

    async def close(self) -> None: ...


@dataclass(slots=True)
class Bucket:
    """One caller's tokens."""

    level: float
    at_s: float

    def settle(self, ask: Ask, now_s: float) -> int:
        """Gives the tokens leased. A clock that was set back makes no tokens, one set forward at most a burst."""
        assert ask.rate_per_s is not None
        filled = self.level + max(0.0, now_s - self.at_s) * ask.rate_per_s
        level = min(ask.burst, min(ask.burst, filled) + ask.give_back) - ask.debt
        granted = max(0, min(ask.want, math.floor(level)))
        self.level, self.at_s = level - granted, now_s
        return granted


class Holding(NamedTuple):
    """A router's slots."""

    held: int
    wanted: int
    until_s: float


@dataclass(slots=True)
class Slots:
    """One caller's slots, by the boot ids of the routers that hold them."""

    holdings: dict[int, Holding] = field(default_factory=dict)

    def settle(self, boot: int, ask: Ask, now_s: float, *, ttl_s: float) -> tuple[int, int]:
        """Gives how many may be used from now on, and how many nobody holds.

        What is in use stays in use, though it be more. Where others have less than they want and less than an even
        share, an even share is all there is to get: so what one router had first comes round as its requests end. What
        would expire later than anything can is from before the clock was set back, and is forgotten: who lives says so
        again.
        """
        assert ask.limit is not None
        others = {
            other: holding
            for other, holding in self.holdings.items()
            if other != boot and now_s < holding.until_s <= now_s + ttl_s
        }
        taken = sum(holding.held for holding in others.values())
        wanting = sum(holding.wanted > 0 for holding in others.values()) + (ask.slots > 0)
        even = max(1, ask.limit // max(1, wanting))
        most = ask.limit - taken
        if any(holding.held < min(holding.wanted, even) for holding in others.values()):
            most = min(most, even)
        given = max(0, min(ask.slots, most))
        held = max(ask.in_use, given)
        self.holdings = others
        if held or ask.slots:
            others[boot] = Holding(held, ask.slots, now_s + ttl_s)
        return given, max(0, ask.limit - taken - held)
