"""What has come to a lane's node lately: how much a second, and how tight."""

from __future__ import annotations

from math import exp

LATELY_S = 1.0
_SLACKENING = 0.02


class Arrivals:
    """Decayed counts. Knows nothing at first, and then says that as much may come as can."""

    def __init__(self) -> None:
        self._units = 0.0
        self._since_s = self._first_s = -1.0
        self.tight_s = 0.0
        """From claim to objective of the tightest jobs lately, of those that had not waited."""

    def __repr__(self) -> str:
        return f"<Arrivals with {self.tight_s * 1e3:.1f} ms left>"

    def came(self, units: int, now_s: float) -> None:
        """Jobs were staged."""
        if self._first_s < 0:
            self._first_s = self._since_s = now_s
        self._units = self._units * exp((self._since_s - now_s) / LATELY_S) + units
        self._since_s = now_s

    def fresh(self, left_s: float) -> None:
        """A job came to an idle node: it had so long until its objective."""
        if left_s > 0:
            self.tight_s = min(left_s, self.tight_s + _SLACKENING * (left_s - self.tight_s)) if self.tight_s else left_s

    def rate(self, now_s: float) -> float:
        """Units a second."""
        if self._first_s < 0 or not self.tight_s:
            return float("inf")
        seen = 1 - exp(min(0.0, (self._first_s - now_s) / LATELY_S))
        if seen < 0.1:  # too short a time to tell
            return float("inf")
        return self._units * exp((self._since_s - now_s) / LATELY_S) / (LATELY_S * seen)
