"""Requests that wait in the router for company, before they go to a dear device.

A batch of three costs a fast device nearly as much as one of thirty, and no node holds a batch back: what waits for a
free device loses its promise to the next burst. A request that the cheapest lane has no time for, and the dear one
plenty, can wait here instead, where it keeps nobody from anything. When it has waited for a part of what it has to
spare, all that wait for the same lane are planned anew, together: perhaps the cheap one has time by then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from isochrone_router.forecast import Forecast
from isochrone_router.planner import Plan, Why

LEAST_S = 0.001
"""Who could wait for less is not held: it would meet nobody."""

_T = TypeVar("_T")


def hold_s(plan: Plan, *, due_in_s: float, share: float, forecast: Forecast, cheapest: Forecast) -> float:
    """How long a request with that plan, which goes to the lane of `forecast`, waits for company; 0 where it doesn't.

    `cheapest`: the lane of its route that it would have gone to, had that had the time.
    """
    if plan.why is not Why.CHEAPEST or plan.node is not None or forecast.streams:
        return 0.0
    if forecast.cost_per_s <= cheapest.cost_per_s:
        return 0.0
    seconds = share * (due_in_s - plan.quantile_s)
    return seconds if seconds >= LEAST_S else 0.0


class Holding(Generic[_T]):
    """Who waits, by lane."""

    def __init__(
        self, *, at: Callable[[float, Callable[[], None]], object], release: Callable[[list[_T]], None]
    ) -> None:
        """`at` has something called at a moment of the clock. `release` is given all who wait for a lane, in the order
        in which they came; some may have been answered or left meanwhile."""
        self._at = at
        self._release = release
        self._groups: dict[str, _Group[_T]] = {}

    def __repr__(self) -> str:
        return f"<Holding {sum(len(group.members) for group in self._groups.values())} for {len(self._groups)} lanes>"

    def hold(self, one: _T, lane: str, *, until_s: float, units: float, full_units: float) -> None:
        """Lets one wait, at most until then: no longer than who is due first, and not once there is a full batch."""
        group = self._groups.get(lane)
        if group is None:
            group = self._groups[lane] = _Group()
        group.members.append(one)
        group.units += units
        if group.units >= full_units:
            self._end(lane, group)
        elif until_s < group.until_s:
            group.until_s = until_s
            self._at(until_s, lambda: self._ring(lane, group, until_s))

    def _ring(self, lane: str, group: _Group[_T], until_s: float) -> None:
        """Somebody's time has come, if nobody was due before him."""
        if group.until_s == until_s and self._groups.get(lane) is group:
            self._end(lane, group)

    def _end(self, lane: str, group: _Group[_T]) -> None:
        del self._groups[lane]
        self._release(group.members)


class _Group(Generic[_T]):
    """Who waits for one lane."""

    __slots__ = ("members", "units", "until_s")

    def __init__(self) -> None:
        self.members: list[_T] = []
        self.units = 0.0
        self.until_s = float("inf")
