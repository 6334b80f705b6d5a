"""How long a job may wait for company on its way into a lane."""

from __future__ import annotations

SHARE = 0.1
"""Of what answers take lately, and of the route's objective: waiting that costs more doesn't pay."""
LEAST_S = 0.0005
"""Shorter waits aren't worth a timer."""


class Linger:
    """Company is worth waiting for when many requests are under way: each push, claim and reply frame that jobs
    share is one that the others don't cost. A wait is paid in latency, so it may take a tenth of what a request
    takes anyway: nothing while answers come quickly, and more the busier everything is.
    """

    _PACE = 0.02

    def __init__(self, *, most_s: float, above: int) -> None:
        self._most_s = most_s
        self._above = above
        self._usual_s = 0.0

    def learn(self, answer_s: float) -> None:
        """A request was answered after so long."""
        self._usual_s += self._PACE * (answer_s - self._usual_s)

    def of(self, *, inflight: int, objective_s: float) -> float:
        """Seconds that a job of a route with that objective may wait; 0 with no more than `above` under way."""
        if inflight <= self._above:
            return 0.0
        wait_s = min(self._most_s, SHARE * self._usual_s, SHARE * objective_s)
        return wait_s if wait_s >= LEAST_S else 0.0
