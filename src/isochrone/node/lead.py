"""How long before its batch ends a node asks for the next one."""

from __future__ import annotations

LEAST_S, MOST_S = 0.001, 0.010
_SHARE = 0.1
_SPREADS = 2.0


class Lead:
    """As long as claims take, lately, and some more. Jobs that come after the batch has ended find the device without
    work, or busy with a small one, and sit it out."""

    def __init__(self) -> None:
        self._mean_s = self._spread_s = 0.0

    def __repr__(self) -> str:
        return f"<Lead {self.seconds * 1e3:.1f} ms>"

    @property
    def claim_s(self) -> float:
        """How long a claim takes, lately."""
        return self._mean_s

    @property
    def seconds(self) -> float:
        return min(max(LEAST_S, self._mean_s + _SPREADS * self._spread_s), MOST_S)

    def took(self, seconds: float) -> None:
        """A claim has come back. One that was stuck counts as no more than the longest lead."""
        error_s = min(seconds, MOST_S) - self._mean_s
        self._mean_s += _SHARE * error_s
        self._spread_s += _SHARE * (abs(error_s) - self._spread_s)
