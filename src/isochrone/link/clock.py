"""What a router's clock shows, as seen from a node."""

from __future__ import annotations

from collections import deque

KEPT = 16


class ClockOffset:
    """The offset of another process's monotonic clock, from the ping with the shortest round trip of the last few.

    The error is at most half that round trip. Both clocks may have any origin; neither is a wall clock.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self.offset_s = 0.0
        self.round_trip_s = 0.0

    def __repr__(self) -> str:
        return f"<ClockOffset {self.offset_s:+.6f} s ± {self.round_trip_s * 5e5:.0f} µs>"

    def assume(self, *, now_s: float, theirs_s: float) -> None:
        """A first guess from a message that took a while to come, until a ping tells better."""
        if not self._samples:
            self.offset_s = theirs_s - now_s

    def observe(self, *, sent_s: float, received_s: float, theirs_s: float) -> None:
        """Takes in a ping: when it left and came back on our clock, and what theirs showed in between."""
        round_trip_s = received_s - sent_s
        self._samples.append((round_trip_s, theirs_s - (sent_s + received_s) / 2))
        self.round_trip_s, self.offset_s = min(self._samples)

    def to_theirs(self, ours_s: float) -> float:
        return ours_s + self.offset_s

    def to_ours(self, theirs_s: float) -> float:
        return theirs_s - self.offset_s
