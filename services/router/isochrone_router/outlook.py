"""What a lane has to offer a request of a route that came now: for those who watch, no request asks here."""

from __future__ import annotations

from typing import NamedTuple

from isochrone.config import RouteConfig
from isochrone.keys import Tier
from isochrone_router.plans import Option
from isochrone_router.waiting import RANK

LEAST = len(RANK) - 1


class Outlook(NamedTuple):
    """Of a request of the standard tier, as heavy as the lane's jobs were lately."""

    expected_s: float
    """From its arrival to its answer, by the forecast and by how answers came lately."""
    within_s: float
    """The same for the fraction of them that is the SLA's target."""
    wait_s: float
    """Until it would run."""
    spare: float | None
    """The share of the lane's time that work in time leaves; below 0 where there is more work than time. None where
    answers are made step by step."""


def outlook(option: Option, route: RouteConfig, *, now_s: float) -> Outlook | None:
    """None where no node of the lane is there."""
    option.view.renew_if_due(now_s)
    forecast, correction = option.forecast, option.correction
    if not forecast.nodes:
        return None
    units, within_s = forecast.weight, route.objective_ms / 1e3
    foretold_s, _ = forecast.finish(units, rank=RANK[Tier.STANDARD], due_s=now_s + within_s, now_s=now_s)
    expected_s = max(0.0, foretold_s + correction.expected_s(now_s))
    return Outlook(
        expected_s=expected_s,
        within_s=expected_s + correction.at(route.target, now_s),
        wait_s=max(0.0, foretold_s - forecast.alone_s(units)),
        spare=None if forecast.streams else forecast.spare(units, rank=LEAST, now_s=now_s, within_s=within_s),
    )
