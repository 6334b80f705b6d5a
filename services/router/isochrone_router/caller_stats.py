"""How the requests of each caller ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from isochrone.config import NOT_A_NAME
from isochrone.keys import Tier
from isochrone_router.front import FAN_OUT, FAN_OUT_STREAM
from isochrone_router.past import Past
from isochrone_router.route_stats import OTHER

FAN_OUTS = (FAN_OUT, FAN_OUT_STREAM)
_TIERS = frozenset(Tier)


class CallerStats:
    """A listener of the chronicle. Of a fan-out its legs count, like quotas count them."""

    def __init__(self, callers: Callable[[], Collection[str]]) -> None:
        """`callers` gives those that are configured now."""
        self._callers = callers
        self.requests: Counter[tuple[str, str, str]] = Counter()
        """By caller, tier and gRPC code."""

    def __repr__(self) -> str:
        return f"<CallerStats of {self.requests.total()} requests>"

    def __call__(self, past: Past) -> None:
        # Other requests have legs too: those that were to stand in for them.
        for one in (past.legs if past.route in FAN_OUTS else ()) or (past,):
            report = one.report
            caller = report.caller if report.caller in self._callers() else NOT_A_NAME
            self.requests[caller, report.tier if report.tier in _TIERS else OTHER, one.code] += 1
