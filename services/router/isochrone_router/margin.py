"""How long before a caller's deadline its answer must leave, so that it arrives."""

from __future__ import annotations

import asyncio


class AnswerMargin:
    """The configured margin, plus how late this process has lately been at doing what it meant to.

    A timer fires late by the work the event loop was busy with; an answer that is due then leaves as late. The
    lateness is measured on expiries and on a timer of its own, remembered at its worst and forgotten slowly.
    """

    _TICK_S = 0.05
    _FORGET = 0.98
    _MOST_S = 0.010

    def __init__(self, least_s: float) -> None:
        self._least_s = least_s
        self._late_s = 0.0

    def __repr__(self) -> str:
        return f"<AnswerMargin {self.margin_s * 1e3:.2f} ms>"

    @property
    def margin_s(self) -> float:
        return self._least_s + self._late_s

    def observe(self, *, late_s: float) -> None:
        """Something happened that much later than it was meant to."""
        self._late_s = max(min(late_s, self._MOST_S), self._late_s * self._FORGET)

    async def run(self) -> None:
        """Measures until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            began_s = loop.time()
            await asyncio.sleep(self._TICK_S)
            # The loop's own timers count in milliseconds, so up to one of them is no lateness.
            self.observe(late_s=max(0.0, loop.time() - began_s - self._TICK_S - 0.001))
