"""What was decided about a route's requests: the counts of all processes added, then made figures of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from isochrone_router.console.part import Part
from isochrone_router.history import Decided, DecisionCount

_DECIDED = len(Decided._fields)


def decisions(parts: Sequence[Part], span: str) -> dict[str, dict[Decided, DecisionCount]]:
    """By route, of a span of all parts."""
    found: dict[str, dict[Decided, DecisionCount]] = {}
    for part in parts:
        for said in part[span]["decisions"]:
            decided, count = Decided(*said[:_DECIDED]), DecisionCount(*said[_DECIDED:])
            of_route = found.setdefault(decided.route, {})
            of_route[decided] = of_route[decided].plus(count) if decided in of_route else count
    return found


def told(of_route: Mapping[Decided, DecisionCount], *, lanes: Sequence[str], met: int) -> dict[str, Any]:
    """A route's. `lanes` are those of its configuration; of others there may be some by second attempts. `met`: its
    answers in time, which costs are for."""
    plans = {decided: count for decided, count in of_route.items() if decided.kind == "plan"}
    sent = sum(count.requests for count in plans.values())
    used = dict.fromkeys((*lanes, *(decided.lane for decided in plans)))
    return {
        "lanes": [_lane(lane, plans, sent=sent, met=met) for lane in used],
        "refused": _counts(of_route, "refused"),
        "fallbacks": _counts(of_route, "fallback"),
        "cost_per_1000": _cost(sum(count.cost for count in plans.values()), met),
    }


def outlooks(parts: Sequence[Part], route: str) -> dict[str, dict[str, float | None]]:
    """What each lane has to offer the route now, by the process that expects least of it."""
    found: dict[str, dict[str, float | None]] = {}
    for part in parts:
        for lane, (expected_ms, within_ms, spare) in part["outlooks"].get(route, {}).items():
            known = found.get(lane)
            if known is None or (known["expected_ms"] or 0) < expected_ms:
                found[lane] = {"expected_ms": expected_ms, "within_ms": within_ms, "spare": spare}
    return found


def _lane(lane: str, plans: Mapping[Decided, DecisionCount], *, sent: int, met: int) -> dict[str, Any]:
    why = {decided.why: count for decided, count in plans.items() if decided.lane == lane}
    count = reduce(DecisionCount.plus, why.values(), DecisionCount(0))
    answers = count.answers
    return {
        "lane": lane,
        "requests": count.requests,
        "share": round(count.requests / sent, 4) if sent else None,
        "why": {reason: one.requests for reason, one in why.items() if one.requests},
        "expected_ms": round(count.expected_s / answers * 1e3, 3) if answers else None,
        "took_ms": round(count.actual_s / answers * 1e3, 3) if answers else None,
        "within": round(count.within / answers, 5) if answers else None,
        "cost_per_1000": _cost(count.cost, met),
    }


def _counts(of_route: Mapping[Decided, DecisionCount], kind: str) -> dict[str, int]:
    found = {decided.why: count.requests for decided, count in of_route.items() if decided.kind == kind}
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def _cost(cost: float, met: int) -> float | None:
    return float(f"{1000 * cost / met:.4g}") if met else None
