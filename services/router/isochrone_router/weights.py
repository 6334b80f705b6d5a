"""How heavy a request is, in its model's units, guessed from its size: the router doesn't look inside."""

from __future__ import annotations


class Weights:
    """Learns units per byte for each route from what nodes counted."""

    _PACE = 0.05

    def __init__(self) -> None:
        self._units_per_byte: dict[str, float] = {}

    def estimate(self, route: str, *, size: int) -> int:
        """Units of a request of that many bytes, at least 1; 1 where nothing is known yet."""
        return max(1, round(self._units_per_byte.get(route, 0.0) * size))

    def learn(self, route: str, *, size: int, units: int) -> None:
        if size and units:
            seen = units / size
            known = self._units_per_byte.get(route, seen)
            self._units_per_byte[route] = known + self._PACE * (seen - known)
