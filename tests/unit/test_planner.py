"""The planner: where a request goes, as a pure function of what the router knows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.errors import IsochroneError, Overloaded, Unavailable, UnknownVariant
from isochrone_router.planner import Plan, plan

CAP = 5


@dataclass(frozen=True)
class Node:
    backlog_s: float = 0.0


@dataclass
class Lane:
    lane: str
    is_open: bool = True
    depth: int = 0
    nodes: Sequence[Node] = field(default_factory=lambda: [Node()])


lanes = st.lists(
    st.builds(
        Lane,
        lane=st.sampled_from(["big@cpu", "big@cuda", "small@cpu"]),
        is_open=st.booleans(),
        depth=st.integers(0, 2 * CAP),
        nodes=st.lists(st.builds(Node, backlog_s=st.floats(0, 1)), max_size=3),
    ),
    max_size=4,
)


def decide(lanes: Sequence[Lane], variant: str | None = None) -> Plan | IsochroneError:
    return plan(lanes, variant=variant, lane_cap=CAP, retry_after_s=0.015)


def test_the_first_lane_with_a_node_takes_it() -> None:
    """Lanes are in the route's order of preference; one that nobody serves is passed over."""
    assert decide([Lane("a@cpu", nodes=[]), Lane("b@cpu"), Lane("c@cpu")]) == Plan("b@cpu")


def test_a_closed_lane_is_used_over_its_links() -> None:
    """Without Redis the job is addressed to the node with the least to do."""
    busy, free = Node(0.5), Node(0.1)
    assert decide([Lane("a@cpu", is_open=False, nodes=[busy, free])]) == Plan("a@cpu", free)


def test_a_full_lane_gives_way_to_the_next() -> None:
    """A smaller variant is better than a refusal."""
    assert decide([Lane("a@cpu", depth=CAP), Lane("b@cpu", depth=CAP - 1)]) == Plan("b@cpu")


def test_all_lanes_full_is_a_refusal_that_says_when_to_come_back() -> None:
    """RESOURCE_EXHAUSTED, before it cost anything."""
    refusal = decide([Lane("a@cpu", depth=CAP), Lane("b@cpu", depth=2 * CAP)])
    assert isinstance(refusal, Overloaded)
    assert (refusal.reason, refusal.retry_after_s) == ("QUEUE_FULL", 0.015)


@pytest.mark.parametrize("route", [[], [Lane("a@cpu", nodes=[])]])
def test_no_node_at_all_is_unavailable(route: list[Lane]) -> None:
    """There is nobody to wait for."""
    refusal = decide(route)
    assert isinstance(refusal, Unavailable)
    assert refusal.reason == "NO_NODE"


def test_a_caller_can_ask_for_a_variant() -> None:
    """Only its lanes are looked at, on any device; one that is not on the route is named, with those that are."""
    route = [Lane("big@cpu"), Lane("small@cpu", nodes=[]), Lane("small@cuda")]
    assert decide(route, variant="small") == Plan("small@cuda")
    refusal = decide(route, variant="huge")
    assert isinstance(refusal, UnknownVariant)
    assert "there is big, small" in refusal.message


@given(lanes, st.sampled_from([None, "big", "small", "huge"]))
def test_a_plan_can_be_carried_out(route: list[Lane], variant: str | None) -> None:
    """It names a lane of the route with a node, and room, or else a node of it; a refusal means there is none."""
    before = copy.deepcopy(route)
    decision = decide(route, variant)
    assert route == before
    assert type(decide(route, variant)) is type(decision)
    able = [lane for lane in route if variant in (None, lane.lane.partition("@")[0])]
    usable = [lane for lane in able if lane.nodes and (not lane.is_open or lane.depth < CAP)]
    if isinstance(decision, Plan):
        assert decision.lane == usable[0].lane
        if decision.node is not None:
            assert decision.node.backlog_s == min(node.backlog_s for node in usable[0].nodes)
    else:
        assert usable == []
        assert isinstance(decision, UnknownVariant) == (not able and variant is not None)
        assert isinstance(decision, Overloaded) == any(lane.nodes for lane in able)
