"""How many second attempts this process may make: retries and hedges draw on one budget."""

from __future__ import annotations

BURST = 256.0
"""What is saved up at most, and there from the start: about what a node's death asks for at once."""


class AttemptBudget:
    """A token bucket filled by requests: `fraction` of a token each, up to `burst`.

    So second attempts stay under that fraction of the load however bad things are, and a node's death, which
    takes a few dozen requests at once, finds most of the bucket there: hedges take from the top quarter alone.
    """

    def __init__(self, fraction: float, *, burst: float | None = None) -> None:
        """With a `fraction` of 0 there is no second attempt at all, unless a burst is given."""
        self._fraction = fraction
        self._burst = self._tokens = (BURST if fraction else 0.0) if burst is None else burst

    def __repr__(self) -> str:
        return f"<AttemptBudget {self._tokens:.1f} of {self._burst:.0f}>"

    @property
    def tokens(self) -> float:
        return self._tokens

    def earn(self) -> None:
        """A request came in."""
        self._tokens = min(self._burst, self._tokens + self._fraction)

    def take(self) -> bool:
        """Pays for one second attempt, if there is enough."""
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def take_spare(self) -> bool:
        """The same, for one that could be done without."""
        return self._tokens > 0.75 * self._burst and self.take()
