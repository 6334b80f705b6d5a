"""Ends a text before the first of its stop strings, and says nothing that may yet turn out to be one."""

from __future__ import annotations

from collections.abc import Sequence


class StopStrings:
    """Looks for stop strings in a text that comes in pieces; where it is cut into pieces changes nothing."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max(map(len, stops), default=0)
        self._held = ""
        self.found = False
        """Whether a stop string came. There is no text after."""

    def push(self, piece: str) -> str:
        """The text that can be said now."""
        text = self._held + piece
        # The one that is complete first ends the text; of two that end together the longer, which began earlier.
        ends = [(place + len(stop), place) for stop in self._stops if (place := text.find(stop)) >= 0]
        if ends:
            self.found = True
            self._held = ""
            return text[: min(ends)[1]]
        keep = self._may_be_a_beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held

    def _may_be_a_beginning(self, text: str) -> int:
        """How many characters at the end of the text some stop string begins with."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            end = text[len(text) - length :]
            if any(stop.startswith(end) for stop in self._stops):
                return length
        return 0
