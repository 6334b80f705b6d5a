"""Where a request goes: a pure function of what the router knows when it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from isochrone.errors import IsochroneError, Overloaded, Unavailable, UnknownVariant


class NodeFacts(Protocol):
    """A node that can be addressed now."""

    @property
    def backlog_s(self) -> float:
        """Predicted seconds of work that it has been given and hasn't answered."""


class LaneFacts(Protocol):
    """One lane of a route, as it is now."""

    @property
    def lane(self) -> str: ...
    @property
    def is_open(self) -> bool:
        """Whether jobs may go through Redis: it is there, and every node that claims from the lane is linked."""

    @property
    def depth(self) -> int:
        """Jobs waiting in Redis, by the last count, and on their way there."""

    @property
    def nodes(self) -> Sequence[NodeFacts]:
        """The nodes of the lane that can be addressed over a link."""


class Plan(NamedTuple):
    """The decision: a lane, and the node to address where the lane itself can't be used."""

    lane: str
    node: NodeFacts | None = None


def plan(
    lanes: Sequence[LaneFacts], *, variant: str | None, lane_cap: int, retry_after_s: float
) -> Plan | IsochroneError:
    """The first lane, in the route's order of preference, that has a node and room; else a typed refusal.

    `variant` restricts the choice to one model variant; `retry_after_s` is what a caller refused for a full lane
    is told to wait.
    """
    if variant is not None:
        known = sorted({facts.lane.partition("@")[0] for facts in lanes})
        lanes = [facts for facts in lanes if facts.lane.partition("@")[0] == variant]
        if not lanes:
            return UnknownVariant(f"no variant {variant!r} on this route; there is {', '.join(known)}")
    full = False
    for facts in lanes:
        if not facts.nodes:
            continue
        if not facts.is_open:
            return Plan(facts.lane, min(facts.nodes, key=lambda node: node.backlog_s))
        if facts.depth < lane_cap:
            return Plan(facts.lane)
        full = True
    if full:
        return Overloaded(f"{lane_cap} jobs wait in every lane of this route", retry_after_s=retry_after_s)
    return Unavailable("no node serves this route now")
