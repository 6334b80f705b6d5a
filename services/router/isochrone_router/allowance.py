"""What one router may admit of one caller now, without asking anybody: a lease of the quotas that all routers share.

Nothing here waits. A request takes a token and a slot that this router holds, or else on credit: as long as there is
something left by the last word of the quotas, this router's share of that, one at least. What was spent on credit is
settled some milliseconds later (`lessor`). While the quotas can't be asked, a router keeps to its share of them.

So over any time t all routers together admit at most `burst + rate * t`, and for each router what it may hold and owe:
a lease (LEASE_S of the rate, one at least) and its share of a burst (one at least), which a caller gets once and not
again: debts are paid before anything is granted.
"""

from __future__ import annotations

from typing import NamedTuple

from isochrone.errors import Overloaded
from isochrone.quotas import Ask, Told
from isochrone_router.slot_lease import SlotLease
from isochrone_router.token_lease import NEVER_S, SOON_S, Pace, TokenLease


class Quota(NamedTuple):
    """What a caller may have, in all routers together."""

    rate_per_s: float | None = None
    burst: int = 1
    concurrency: int | None = None


class Allowance:
    """Both, of one caller."""

    def __init__(self, caller: str, quota: Quota) -> None:
        self.caller = caller
        self.tokens: TokenLease | None = None
        self.slots: SlotLease | None = None
        self.used = Pace()
        """Requests that were admitted."""
        self.change(quota)

    def __repr__(self) -> str:
        tokens, slots = self.tokens, self.slots
        has = [f"{tokens.held} tokens held, {tokens.debt} owed"] if tokens else []
        has += [f"{slots.in_use} of {slots.held} slots in use"] if slots else []
        return f"<Allowance of {self.caller}: {', '.join(has) or 'no limits'}>"

    def change(self, quota: Quota) -> None:
        """Other quotas; what is under way stays so, and what is owed is still owed."""
        self.quota = quota
        tokens, slots = self.tokens, self.slots
        if quota.rate_per_s is None:
            self.tokens = None
        elif tokens is None:
            self.tokens = TokenLease(quota.rate_per_s, quota.burst)
        elif (tokens.rate_per_s, tokens.burst) != (quota.rate_per_s, quota.burst):
            self.tokens = tokens.changed(quota.rate_per_s, quota.burst)
        if quota.concurrency is None:
            self.slots = None
        elif slots is None:
            self.slots = SlotLease(quota.concurrency)
        elif slots.limit != quota.concurrency:
            slots.change(quota.concurrency)

    def take(self, now_s: float, routers: int) -> Overloaded | None:
        """Takes a token and a slot, which whoever took it puts back; or says why not, and takes neither."""
        tokens, slots = self.tokens, self.slots
        if slots is not None and not slots.take(now_s, routers):
            told = f"{self.caller} may have {slots.limit or 'no'} requests under way, in all routers together"
            return Overloaded(told, retry_after_s=SOON_S if slots.limit else NEVER_S, reason="QUOTA")
        if tokens is not None and not (tokens.rate_per_s and tokens.take(now_s, routers)):
            if slots is not None:
                slots.put_back()
            rate = f"{tokens.rate_per_s:g} requests a second, to all routers together"
            told = f"{self.caller} may send {rate if tokens.rate_per_s else 'no requests: its rate is 0'}"
            retry_after_s = tokens.retry_after_s(now_s, routers) if tokens.rate_per_s else NEVER_S
            return Overloaded(told, retry_after_s=retry_after_s, reason="QUOTA")
        self.used.add(now_s)
        return None

    def is_due(self, now_s: float) -> bool:
        """Whether there is something to settle."""
        tokens, slots = self.tokens, self.slots
        if tokens is not None and tokens.rate_per_s and tokens.is_due(now_s):
            return True
        return slots is not None and bool(slots.limit or slots.in_use) and slots.is_due(now_s)

    def ask(self, now_s: float) -> Ask:
        tokens, slots = self.tokens, self.slots
        ask = Ask(self.caller)
        if tokens is not None and tokens.rate_per_s:
            debt, give_back, want = tokens.ask(now_s)
            ask = ask._replace(
                rate_per_s=tokens.rate_per_s, burst=tokens.burst, debt=debt, give_back=give_back, want=want
            )
        if slots is not None:
            in_use, wanted = slots.ask(now_s)
            ask = ask._replace(limit=slots.limit, in_use=in_use, slots=wanted)
        return ask

    def last_ask(self) -> Ask:
        """What a router that leaves has to say."""
        tokens, slots = self.tokens, self.slots
        ask = Ask(self.caller)
        if tokens is not None and tokens.rate_per_s:
            debt, give_back = tokens.give_up()
            ask = ask._replace(rate_per_s=tokens.rate_per_s, burst=tokens.burst, debt=debt, give_back=give_back)
        return ask if slots is None else ask._replace(limit=slots.limit)

    def told(self, told: Told, now_s: float) -> None:
        if self.tokens is not None:
            self.tokens.told(told, now_s)
        if self.slots is not None:
            self.slots.told(told, now_s)

    def lose(self, now_s: float, routers: int) -> None:
        """The quotas can't be asked: it keeps to its share of them."""
        if self.tokens is not None:
            self.tokens.lose(now_s, routers)
        if self.slots is not None:
            self.slots.lose()

    def find(self, now_s: float, routers: int) -> None:
        """They can be asked again."""
        if self.tokens is not None:
            self.tokens.find(now_s, routers)
        if self.slots is not None:
            self.slots.find()
