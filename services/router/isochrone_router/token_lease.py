"""Tokens of a caller's rate that this router may spend now: leased ones, or a few on credit."""

from __future__ import annotations

import math

from isochrone.quotas import Told

LEASE_S = 0.2
"""Tokens are leased for the requests of so long, at their rate of late."""
PACE_S = 0.5
"""What "of late" is."""
SOON_S, NEVER_S = 0.05, 60.0
"""When to ask again, at least and at most."""


class Pace:
    """Events a second of late, recent ones counting most."""

    __slots__ = ("_at_s", "_per_s")

    def __init__(self) -> None:
        self._per_s = self._at_s = 0.0

    def add(self, now_s: float) -> None:
        self._per_s = self.at(now_s) + 1 / PACE_S
        self._at_s = now_s

    def at(self, now_s: float) -> float:
        return self._per_s * math.exp((self._at_s - now_s) / PACE_S)


class TokenLease:
    """Tokens of one caller's rate."""

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self.rate_per_s = rate_per_s
        self.burst = burst
        self.held = 0
        """Leased and not spent."""
        self.debt = 0
        """Spent and not leased."""
        self._sent_debt = 0
        self._level = float(burst)
        """Of all routers, as it was told last; of this one's share, while it is alone."""
        self._level_at_s = 0.0
        self._alone = False
        self._spent_alone = 0
        self._asked = Pace()

    def changed(self, rate_per_s: float, burst: int) -> TokenLease:
        """Under another quota: what is owed is still owed, and what is being settled isn't settled twice."""
        other = TokenLease(rate_per_s, burst)
        other.debt, other._sent_debt = self.debt, self._sent_debt
        return other

    @property
    def largest(self) -> int:
        """The most that is leased ahead."""
        return min(self.burst, max(1, math.ceil(self.rate_per_s * LEASE_S)))

    def take(self, now_s: float, routers: int) -> bool:
        """Takes a token, if there is one to be had."""
        self._asked.add(now_s)
        if self.held:
            self.held -= 1
            return True
        if self._alone:
            self._fill_share(now_s, routers)
            if self._level < 1:
                return False
            self._level -= 1
            self._spent_alone += 1
            return True
        level = self._level_at(now_s)
        if level - self.debt < 1 or self.debt >= max(1, level / routers):
            return False
        self.debt += 1
        return True

    def retry_after_s(self, now_s: float, routers: int) -> float:
        """When there should be a token."""
        per_s = self.rate_per_s / routers if self._alone else self.rate_per_s
        lacking = 1 - (self._level if self._alone else self._level_at(now_s) - self.debt)
        return min(NEVER_S, max(SOON_S, lacking / per_s))

    def is_due(self, now_s: float) -> bool:
        """Whether there is something to settle: debts, too few tokens for what comes, or too many."""
        if self.debt:
            return True
        target = self._target(now_s)
        if 2 * self.held < target:
            return self._level_at(now_s) >= 1
        return self.held > 2 * target

    def ask(self, now_s: float) -> tuple[int, int, int]:
        """Debt, what is given back, and what is wanted, for an Ask. What is given back is gone."""
        self._sent_debt = self.debt
        target = self._target(now_s)
        give_back = self.held - target if self.held > 2 * target else 0
        self.held -= give_back
        return self.debt, give_back, max(0, target - self.held)

    def give_up(self) -> tuple[int, int]:
        """All debt, and all there is to give back."""
        held, self.held = self.held, 0
        return self.debt, held

    def told(self, told: Told, now_s: float) -> None:
        self.debt -= self._sent_debt
        self._sent_debt = 0
        self.held += told.granted
        self._level, self._level_at_s = told.level, now_s

    def lose(self, now_s: float, routers: int) -> None:
        """From now on it keeps to its share. What it owes is settled when there is somebody to settle it with."""
        if not self._alone:
            self._level = min(self._share(routers), max(0.0, self._level_at(now_s) - self.debt) / routers)
            self._level_at_s, self._alone, self._sent_debt, self._spent_alone = now_s, True, 0, 0

    def find(self, now_s: float, routers: int) -> None:
        """There is somebody to settle with: what was spent meanwhile is owed, but for what has come in since, as it
        has where they are kept."""
        if self._alone:
            self._fill_share(now_s, routers)
            self.debt += min(self._spent_alone, math.ceil(self._share(routers) - self._level))
            self._alone = False

    def _target(self, now_s: float) -> int:
        wanted = self._asked.at(now_s) * LEASE_S
        return 0 if wanted < 0.01 else min(self.largest, max(1, math.ceil(wanted)))

    def _level_at(self, now_s: float) -> float:
        """Of all routers, if nobody took anything since."""
        return min(self.burst, self._level + (now_s - self._level_at_s) * self.rate_per_s)

    def _share(self, routers: int) -> float:
        return max(1.0, self.burst / routers)

    def _fill_share(self, now_s: float, routers: int) -> None:
        filled = self._level + (now_s - self._level_at_s) * self.rate_per_s / routers
        self._level, self._level_at_s = min(self._share(routers), filled), now_s
