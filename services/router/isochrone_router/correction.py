"""By how much answers come later than was foretold, lately."""

from __future__ import annotations

from isochrone.latency import tail

BIAS_S, SPREAD_S = 0.2, 1.0
"""Over how long each of them forgets."""
LEAST, MOST, FIRST = 0.001, 0.05, 8
"""The least and the most that one answer counts for, once there were so many."""
COUNTED = 1000
CLIP = 4.0
LEAST_SPREAD_S = 0.0002
STALE_S = 2.0
"""Without an answer for so long, half of what was learnt is forgotten; and so on."""


class Correction:
    """What a forecast leaves out: hops, company that was waited for, what else runs on the machine.

    One answer that is far off counts as no more than some spreads. What isn't confirmed fades, so that a lane which
    was slow once is tried again.
    """

    def __init__(self) -> None:
        self._bias_s = self._spread_s = 0.0
        self._answers = 0
        self._heard_s = 0.0

    def __repr__(self) -> str:
        return f"<Correction {self._bias_s * 1e3:+.2f} ± {self._spread_s * 1e3:.2f} ms>"

    @property
    def answers(self) -> int:
        """That it knows of; not counted beyond a few."""
        return self._answers

    @property
    def spread_s(self) -> float:
        """The mean absolute error."""
        return self._spread_s

    def observe(self, *, foretold_s: float, took_s: float, now_s: float) -> None:
        """An answer has come. On every answer's way, so it is written to be quick."""
        since_s = now_s - self._heard_s
        if since_s > STALE_S:
            kept = self._kept(now_s)
            self._bias_s *= kept
            self._spread_s *= kept
        self._heard_s = now_s
        spread_s = self._spread_s
        beyond_s = took_s - foretold_s - self._bias_s  # what was expected
        if self._answers < FIRST:
            self._answers += 1
            share = spread_share = 1 / self._answers
        else:
            if self._answers < COUNTED:
                self._answers += 1
            reach_s = CLIP * (spread_s if spread_s > LEAST_SPREAD_S else LEAST_SPREAD_S)
            if beyond_s > reach_s:
                beyond_s = reach_s
            elif beyond_s < -reach_s:
                beyond_s = -reach_s
            share = spread_share = LEAST
            if since_s > LEAST * BIAS_S:
                share = min(MOST, since_s / BIAS_S)
                spread_share = min(MOST, max(LEAST, since_s / SPREAD_S))
        self._spread_s = spread_s + spread_share * (abs(beyond_s) - spread_s)
        self._bias_s += share * beyond_s

    def expected_s(self, now_s: float) -> float:
        """To be added to what is foretold."""
        return self._bias_s * self._kept(now_s)

    def at(self, quantile: float, now_s: float) -> float:
        """And to be added to that, for so many of the answers to be in time."""
        return self._spread_s * self._kept(now_s) * tail(quantile)

    def _kept(self, now_s: float) -> float:
        """The part of what was learnt that silence has left."""
        silence_s = now_s - self._heard_s
        if silence_s <= STALE_S or not self._answers:
            return 1.0
        return float(0.5 ** (silence_s / STALE_S))
