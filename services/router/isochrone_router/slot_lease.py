"""Slots of a caller's concurrency that this router may use now: those it holds, or a few on credit."""

from __future__ import annotations

import math

from isochrone.quotas import Told

RENEW_S = 1.0
"""Slots are renewed this often, and what was told of free ones is believed for so long."""
ASK_S = 0.05
"""How often more are asked for, where there are none left."""


class SlotLease:
    """Slots of one caller's concurrency."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0
        self.held = 0
        self._free = limit
        """That nobody held, by the last word."""
        self._told_s = -math.inf
        self._alone = False
        self._peak = self._peak_before = 0
        self._turned_s = -math.inf
        self._refused = False

    def take(self, now_s: float, routers: int) -> bool:
        """Takes a slot, if there is one to be had."""
        if self._alone:
            may = self.in_use < -(-self.limit // routers)
        else:
            on_credit = self.in_use - self.held
            may = on_credit < 0 or on_credit < min(self._free_at(now_s), max(1, self._free_at(now_s) // routers))
        if may:
            self.in_use += 1
            self._peak = max(self._peak, self.in_use)
        else:
            self._refused = True
        return may

    def put_back(self) -> None:
        """A request is over."""
        self.in_use -= 1

    def change(self, limit: int) -> None:
        """Another limit; what is under way stays so."""
        self.limit = self._free = limit
        self._told_s = -math.inf

    def is_due(self, now_s: float) -> bool:
        """Whether there is something to settle: slots used up, refusals, or what expires unless it is renewed."""
        since_s = now_s - self._told_s
        if self.in_use > self.held and self._free > 0:
            return True
        if self._refused or (self.in_use == self.held > 0 and self._free > 0):
            return since_s >= ASK_S
        return since_s >= RENEW_S and (self.held > 0 or self.in_use > 0)

    def ask(self, now_s: float) -> tuple[int, int]:
        """How many are in use, and how many to hold, for an Ask."""
        if now_s - self._turned_s >= RENEW_S:
            is_next = now_s - self._turned_s < 2 * RENEW_S
            self._peak_before = self._peak if is_next else 0
            self._peak, self._turned_s = self.in_use, now_s
        peak = max(self._peak, self._peak_before, self.in_use)
        wanted = peak + max(1, peak // 4) if peak or self._refused else 0
        self._refused = False
        return self.in_use, min(self.limit, wanted)

    def told(self, told: Told, now_s: float) -> None:
        self.held, self._free, self._told_s = told.slots, told.free, now_s

    def lose(self) -> None:
        """From now on it keeps to its share."""
        self._alone, self.held, self._told_s = True, 0, -math.inf

    def find(self) -> None:
        """There is somebody to hold them of."""
        self._alone = False

    def _free_at(self, now_s: float) -> int:
        """That nobody holds, as far as is known; what was told long ago may be otherwise."""
        return self._free if now_s - self._told_s < RENEW_S else max(0, self.limit - self.held)
