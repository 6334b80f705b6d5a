"""Where a request goes: a pure function of what the router knows when it asks."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from isochrone.errors import IsochroneError, Overloaded, Unavailable, UnknownVariant
from isochrone_router.correction import Correction
from isochrone_router.forecast import Forecast, NodeFacts

LEAST_SPARE = 0.25
"""Work that will be late is taken in while at least this share of a lane's time is left by work in time."""
LIKELY = 0.9
"""The chance to be in time with which a job may go behind others. Under overload the last place that is expected to be
in time is where all find themselves, and half of those who take it wait in vain. To leave it empty costs nothing: what
goes before keeps the nodes as busy."""
SOON_S = 0.001
"""Whoever is refused is told to wait at least so long."""


class Why(StrEnum):
    """What made a plan."""

    CHEAPEST = "cheapest"  # of the lanes that will be in time, at the quantile of the SLA's target
    FASTEST = "fastest"  # none will at that quantile; this one is expected to
    SMALLER = "smaller"  # the same, of the lesser variants
    LATE = "late"  # after its objective, before its deadline, with time that nobody else wants
    ADDRESSED = "addressed"  # to a node that doesn't claim from the lane, or past a lane that can't be used


class LaneFacts(Protocol):
    """One lane as a route may use it, as it is now."""

    @property
    def lane(self) -> str: ...
    @property
    def is_open(self) -> bool:
        """Whether jobs may go through Redis: it is there, and every node that claims from the lane is linked."""

    @property
    def nodes(self) -> Sequence[NodeFacts]:
        """The nodes of the lane that can be addressed over a link."""

    @property
    def forecast(self) -> Forecast: ...
    @property
    def correction(self) -> Correction:
        """What the route's answers from this lane have taken beyond the forecast."""


class Finish(NamedTuple):
    """From now until the answer leaves, in seconds."""

    expected_s: float
    """Corrected by how answers came lately."""
    foretold_s: float
    """As the facts alone have it."""
    ahead: float
    """Jobs that go first; where a node is addressed, the seconds of work that it was given."""


class Ask(NamedTuple):
    """A request, as far as it matters where it goes. Times are on the router's clock."""

    units: float
    rank: int
    """Of its tier: 0 for the highest."""
    now_s: float
    due_s: float
    """Its objective."""
    end_s: float
    """The last moment at which an answer is worth anything."""
    target: float
    """The fraction of answers that should meet the objective."""
    lane_cap: int


class Plan(NamedTuple):
    """The decision: a lane, and the node to address where not the lane itself is used."""

    lane: str
    node: NodeFacts | None = None
    why: Why = Why.CHEAPEST
    finish: Finish = Finish(0.0, 0.0, 0.0)
    quantile_s: float = 0.0
    """As `finish`, at the quantile of the target."""
    jobs: int = 0
    """How many more requests like it the same plan is good for."""
    made_s: float = 0.0
    """When it was made, on the router's clock."""


class Refused(NamedTuple):
    """Nobody here will answer it in time."""

    reason: str
    told: str
    retry_after_s: float = 0.0
    finish_s: float = 0.0
    """When it would have been answered, from now."""

    def error(self) -> IsochroneError:
        """For its caller; each has one of its own."""
        retry_after_s = max(self.retry_after_s, SOON_S)
        match self.reason:
            case "OVERLOAD":
                return Overloaded(self.told, retry_after_s=retry_after_s, reason="OVERLOAD")
            case "INFEASIBLE_DEADLINE":
                return Overloaded(self.told, retry_after_s=retry_after_s, reason="INFEASIBLE_DEADLINE")
            case "QUEUE_FULL":
                return Overloaded(self.told, retry_after_s=retry_after_s)
            case "UNKNOWN_VARIANT":
                return UnknownVariant(self.told)
        return Unavailable(self.told)


class _Found(NamedTuple):
    facts: LaneFacts
    finish: Finish
    node: NodeFacts | None


def plan(ask: Ask, lanes: Sequence[LaneFacts], smaller: Sequence[LaneFacts] = ()) -> Plan | Refused:
    """The first lane, in the order given (the cheapest first), that will be in time at the quantile of the target;
    else the one that is expected to be done first, if that is likely to be in time; else the same of the `smaller`;
    else one that nobody waits for, to see; else, late, what time is left over; else a refusal that says why, and when
    to come back.
    """
    best: _Found | None = None
    why = Why.FASTEST
    for group in (lanes, smaller):
        found = _first_in_time(ask, group)
        if isinstance(found, Plan):
            return found if group is lanes else found._replace(why=Why.SMALLER)
        if found is not None:
            if _is_likely(ask, found):
                return _planned(ask, found, why)
            if best is None or found.finish.expected_s < best.finish.expected_s:
                best = found
        why = Why.SMALLER
    if best is None:
        return _nobody(ask, (*lanes, *smaller))
    if not any(_is_possible(ask, facts) for facts in (*lanes, *smaller)):
        return Refused("INFEASIBLE_DEADLINE", _at_best_in_words(ask, best), finish_s=best.finish.expected_s)
    if _is_idle(ask, best) and _is_possible(ask, best.facts):
        return _planned(ask, best, Why.FASTEST)
    late = _late(ask, best)
    if late is not None:
        return late
    told = f"would take some {best.finish.expected_s * 1e3:.0f} ms with what waits already"
    expected_s = best.finish.expected_s
    return Refused("OVERLOAD", told, retry_after_s=expected_s - (ask.due_s - ask.now_s), finish_s=expected_s)


def _first_in_time(ask: Ask, lanes: Sequence[LaneFacts]) -> Plan | _Found | None:
    """The first that will be at the quantile, else the one that is expected to be done first; None: nobody there."""
    fastest: _Found | None = None
    within_s = ask.due_s - ask.now_s
    for facts in lanes:
        found = _found(ask, facts)
        if found is None:
            continue
        if found.finish.expected_s + facts.correction.at(ask.target, ask.now_s) <= within_s:
            return _planned(ask, found, Why.CHEAPEST if found.node is None else Why.ADDRESSED)
        if fastest is None or found.finish.expected_s < fastest.finish.expected_s:
            fastest = found
    return fastest


def _found(ask: Ask, facts: LaneFacts) -> _Found | None:
    """What a lane has to offer: itself where it can be used, else its nodes by their links."""
    if not facts.nodes:
        return None
    forecast = facts.forecast
    if not facts.is_open or not forecast.nodes:
        return _addressed(ask, facts, facts.nodes)
    if forecast.waiting.total >= ask.lane_cap:
        return None
    foretold_s, ahead = forecast.finish(ask.units, rank=ask.rank, due_s=ask.due_s, now_s=ask.now_s)
    expected_s = foretold_s + facts.correction.expected_s(ask.now_s)
    if expected_s > ask.due_s - ask.now_s and len(forecast.nodes) < len(facts.nodes):
        # Those that stand back have time for what isn't in a hurry.
        other = _addressed(ask, facts, [node for node in facts.nodes if not node.claims])
        if other.finish.expected_s < expected_s:
            return other
    return _Found(facts, Finish(expected_s, foretold_s, ahead), None)


def _addressed(ask: Ask, facts: LaneFacts, nodes: Sequence[NodeFacts]) -> _Found:
    """The node that would be done with it first. Where it answers step by step, beside others, only experience says
    how long that takes, and the one with the least to do is asked."""
    if facts.forecast.streams:
        foretold_s, node = 0.0, min(nodes, key=lambda node: node.backlog_s + node.base_s)
    else:
        node = min(nodes, key=lambda node: node.done_in_s(ask.units, now_s=ask.now_s))
        foretold_s = node.done_in_s(ask.units, now_s=ask.now_s)
    expected_s = foretold_s + facts.correction.expected_s(ask.now_s)
    return _Found(facts, Finish(expected_s, foretold_s, node.backlog_s), node)


def _planned(ask: Ask, found: _Found, why: Why) -> Plan:
    facts, finish, node = found
    quantile_s = finish.expected_s + facts.correction.at(ask.target, ask.now_s)
    left_s = ask.due_s - ask.now_s - quantile_s
    jobs = 0
    if left_s > 0 and node is None:
        jobs = min(facts.forecast.jobs_within(left_s), ask.lane_cap - facts.forecast.waiting.total - 1)
    return Plan(facts.lane, node, why, finish, quantile_s, jobs, ask.now_s)


def _is_likely(ask: Ask, found: _Found) -> bool:
    """Whether it is expected to be in time and, where more goes first than the nodes can begin with, likely to be."""
    facts, finish, _ = found
    left_s = ask.due_s - ask.now_s - finish.expected_s
    is_next = facts.forecast.is_next(ask.units, foretold_s=finish.foretold_s, ahead=finish.ahead)
    return left_s >= (0.0 if is_next else facts.correction.at(LIKELY, ask.now_s))


def _late(ask: Ask, best: _Found) -> Plan | None:
    """Behind all that is due, with the time that this leaves."""
    left_s = ask.end_s - ask.now_s
    forecast = best.facts.forecast
    if best.node is not None or forecast.streams:
        return _planned(ask, best, Why.LATE) if best.finish.expected_s <= left_s else None
    spare = forecast.spare(ask.units, rank=ask.rank, now_s=ask.now_s, within_s=ask.due_s - ask.now_s)
    if spare < LEAST_SPARE:
        return None
    foretold_s, ahead = forecast.finish(ask.units, rank=ask.rank, due_s=late_due_s(ask), now_s=ask.now_s)
    expected_s = foretold_s / min(spare, 1.0) + best.facts.correction.expected_s(ask.now_s)
    if expected_s > left_s:
        return None
    return _planned(ask, best._replace(finish=Finish(expected_s, foretold_s, ahead)), Why.LATE)


def late_due_s(ask: Ask) -> float:
    """When a job that will be late is due, as far as its lane's order goes: behind every job in time that may come
    while anybody waits for it. If it were due at its end, it would go before jobs that can still be in time once it had
    waited for long, and make them late in their turn: all of them, soon."""
    return ask.end_s + (ask.due_s - ask.now_s)


def _is_idle(ask: Ask, found: _Found) -> bool:
    """Whether nothing goes first: then what it takes is to be found out, however long it took lately."""
    return not found.finish.ahead and found.finish.foretold_s <= found.facts.forecast.alone_s(ask.units) + SOON_S


def _is_possible(ask: Ask, facts: LaneFacts) -> bool:
    """Whether any node of it could answer in time if it had nothing else to do."""
    return bool(facts.nodes) and ask.now_s + facts.forecast.at_best_s(ask.units) <= ask.end_s


def _nobody(ask: Ask, lanes: Sequence[LaneFacts]) -> Refused:
    if any(facts.nodes for facts in lanes):
        told = f"{ask.lane_cap} jobs wait in every lane of this route"
        return Refused("QUEUE_FULL", told, retry_after_s=ask.due_s - ask.now_s)
    return Refused("NO_NODE", "no node serves this route now")


def _at_best_in_words(ask: Ask, best: _Found) -> str:
    left_ms = max(0.0, ask.end_s - ask.now_s) * 1e3
    at_best_ms = best.facts.forecast.at_best_s(ask.units) * 1e3
    return f"takes {at_best_ms:.1f} ms with nothing else to do, and has {left_ms:.1f}"
