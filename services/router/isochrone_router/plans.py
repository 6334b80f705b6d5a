"""Plans of one route: made anew as facts change, and good for several requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from isochrone_router.correction import Correction
from isochrone_router.forecast import Forecast, NodeFacts
from isochrone_router.lane_view import LaneView
from isochrone_router.planner import Ask, Plan, Refused, plan

HOLDS_S, HOLDS_MOST_S = 0.002, 0.010
"""A plan is made anew after this, and when it has been given to as many requests as it is good for. One with time to
spare on the cheapest lane holds for a quarter of that: nothing is better, and what has come since makes nobody late."""
ORDER_HOLDS_S = 0.5
"""So is the order of the lanes by cost."""


@dataclass(slots=True)
class Option:
    """A lane as one route uses it (LaneFacts)."""

    view: LaneView
    correction: Correction = field(default_factory=Correction)

    @property
    def lane(self) -> str:
        return self.view.lane

    @property
    def is_open(self) -> bool:
        return self.view.is_open

    @property
    def nodes(self) -> Sequence[NodeFacts]:
        return self.view.nodes

    @property
    def forecast(self) -> Forecast:
        return self.view.forecast


class Plans:
    """Asks the planner, and remembers what it said for as long as that holds."""

    def __init__(self, lanes: Sequence[LaneView], smaller: Sequence[LaneView] = ()) -> None:
        self.options = {view.lane: Option(view) for view in (*lanes, *smaller)}
        self.views = tuple(option.view for option in self.options.values())
        self._lanes = [self.options[view.lane] for view in lanes]
        self._smaller = [self.options[view.lane] for view in smaller]
        self._ordered_s = float("-inf")
        self._held: Plan | Refused | None = None
        self._held_for: Ask | None = None
        self._holds_s = HOLDS_S
        self._left = self._changes = 0
        self.made = 0
        """Plans that were made, and not just given once more."""

    def __repr__(self) -> str:
        return f"<Plans over {', '.join(self.options)}>"

    @property
    def cheapest(self) -> Forecast:
        """Of the lane that comes first, by its cost."""
        return self._lanes[0].forecast

    def plan(self, ask: Ask, *, variant: str | None = None) -> Plan | Refused:
        """Where this request goes. `variant` restricts the choice to one model variant."""
        if variant is None and (held := self._held) is not None and self._holds(held, ask):
            return held
        if variant is not None:
            return self._of_variant(ask, variant)
        if ask.now_s - self._ordered_s > ORDER_HOLDS_S:
            self._order(ask)
        self.made += 1
        self._held, self._held_for = made, _ = plan(ask, self._lanes, self._smaller), ask
        self._holds_s = HOLDS_S
        if isinstance(made, Plan):
            if made.lane == self._lanes[0].lane:
                spare_s = ask.due_s - ask.now_s - made.quantile_s
                self._holds_s = min(max(HOLDS_S, spare_s / 4), HOLDS_MOST_S)
            self._left, self._changes = made.jobs, self.options[made.lane].view.changes
        elif made.reason != "OVERLOAD":
            self._held = None
        return made

    def views_of(self, variant: str | None) -> Sequence[LaneView]:
        """The lanes that may answer such a request, wherever it is sent first."""
        if variant is None:
            return self.views
        return [view for view in self.views if _variant_of(view.lane) == variant]

    def _holds(self, held: Plan | Refused, ask: Ask) -> bool:
        held_for = self._held_for
        if held_for is None or ask.rank != held_for.rank or ask.now_s - held_for.now_s >= self._holds_s:
            return False
        within_s, held_within_s = ask.due_s - ask.now_s, held_for.due_s - held_for.now_s
        if isinstance(held, Refused):  # then so would be whoever has no more time, and as much to do
            end_s, held_end_s = ask.end_s - ask.now_s, held_for.end_s - held_for.now_s
            return ask.units >= held_for.units and within_s <= held_within_s and end_s <= held_end_s
        if self._changes != self.options[held.lane].view.changes:
            return False
        if self._left <= 0 or ask.units > held_for.units or within_s < held_within_s - HOLDS_S:
            return False
        # Whoever has less time has less to spare, and some of it is given away already.
        spare_s, held_spare_s = within_s - held.quantile_s, held_within_s - held.quantile_s
        if spare_s * held.jobs < held_spare_s * (held.jobs - self._left):
            return False
        self._left -= 1
        return True

    def _of_variant(self, ask: Ask, variant: str) -> Plan | Refused:
        able = [option for lane, option in self.options.items() if _variant_of(lane) == variant]
        if not able:
            known = sorted({_variant_of(lane) for lane in self.options})
            return Refused("UNKNOWN_VARIANT", f"no variant {variant!r} on this route; there is {', '.join(known)}")
        for option in able:
            option.view.renew_if_due(ask.now_s)
        return plan(ask, able)

    def _order(self, ask: Ask) -> None:
        """The cheapest first; those that cost the same as they are configured."""
        self._ordered_s = ask.now_s
        for option in self.options.values():
            option.view.renew_if_due(ask.now_s)
        configured = list(self.options)
        for options in (self._lanes, self._smaller):
            options.sort(key=lambda option: configured.index(option.lane))
            options.sort(key=lambda option: option.forecast.cost_of(ask.units))


def _variant_of(lane: str) -> str:
    return lane.partition("@")[0]
