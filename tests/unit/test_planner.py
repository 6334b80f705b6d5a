"""The planner: where a request goes, as a pure function of what the router knows."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.errors import Overloaded, Unavailable
from isochrone.keys import Tier
from isochrone_router.correction import Correction
from isochrone_router.forecast import Forecast
from isochrone_router.lane_view import LaneView
from isochrone_router.planner import Ask, Plan, Refused, Why, plan
from isochrone_router.plans import Plans

NOW_S = 100.0
CAP = 50


@dataclass
class Node:
    base_s: float = 0.001
    per_unit_s: float = 0.0001
    batch_units: int = 64
    weight: float = 1.0
    free_at_s: float = 0.0
    backlog_s: float = 0.0
    claims: bool = True

    @property
    def per_job_s(self) -> float:
        return self.base_s + self.per_unit_s * self.weight

    def done_in_s(self, units: float, *, now_s: float) -> float:
        return max(self.backlog_s, self.free_at_s - now_s) + self.base_s + self.per_unit_s * units


@dataclass
class Lane:
    lane: str
    nodes: Sequence[Node] = field(default_factory=lambda: [Node()])
    is_open: bool = True
    cost_per_s: float = 1.0
    forecast: Forecast = field(default_factory=Forecast)
    correction: Correction = field(default_factory=Correction)

    def __post_init__(self) -> None:
        self.forecast.cost_per_s = self.cost_per_s
        self.forecast.renew([node for node in self.nodes if node.claims])

    def waits(self, jobs: int, *, due_in_ms: float = 1.0, tier: Tier = Tier.STANDARD) -> Lane:
        for _ in range(jobs):
            self.forecast.waiting.add(tier, NOW_S + due_in_ms / 1e3)
        return self

    def takes_longer(self, seconds: float, *, spread_s: float = 0.0) -> Lane:
        """Answers have come so much later than was foretold."""
        for number in range(200):
            off_s = spread_s if number % 2 else -spread_s
            self.correction.observe(foretold_s=0.0, took_s=seconds + off_s, now_s=NOW_S - 1 + number * 0.005)
        return self


def slow(units: int = 8) -> Node:
    """10 ms for a full batch, at the least."""
    return Node(base_s=0.010, per_unit_s=0.0, batch_units=units)


def decide(
    *lanes: Lane,
    smaller: Sequence[Lane] = (),
    objective_ms: float = 15.0,
    deadline_ms: float = 15.0,
    units: float = 1.0,
    tier: int = 1,
    target: float = 0.999,
) -> Plan | Refused:
    ask = Ask(
        units=units,
        rank=tier,
        now_s=NOW_S,
        due_s=NOW_S + objective_ms / 1e3,
        end_s=NOW_S + deadline_ms / 1e3,
        target=target,
        lane_cap=CAP,
    )
    return plan(ask, lanes, smaller)


def planned(decision: Plan | Refused) -> tuple[str, Why]:
    assert isinstance(decision, Plan), decision
    return decision.lane, decision.why


def refused(decision: Plan | Refused) -> Refused:
    assert isinstance(decision, Refused), decision
    return decision


def test_the_first_lane_in_time_is_taken() -> None:
    """They are given with the cheapest first."""
    assert planned(decide(Lane("a@cpu"), Lane("b@cpu"))) == ("a@cpu", Why.CHEAPEST)


def test_a_job_is_addressed_to_the_node_that_would_have_done_it_first() -> None:
    """By what nodes say as well: another router's jobs may keep one from ours, and we have counted none of them."""
    busy, free = Node(free_at_s=NOW_S + 0.050), Node(base_s=0.002)
    decision = decide(Lane("a@cpu", [busy, free], is_open=False))
    assert isinstance(decision, Plan)
    assert (decision.node, decision.why) == (free, Why.ADDRESSED)


def test_a_lane_with_too_much_to_do_gives_way_to_a_dearer_one() -> None:
    """Backlog counts in predicted milliseconds of work: two rounds of 10 ms are over an objective of 15."""
    cheap, dear = Lane("a@cpu", [slow()]).waits(16), Lane("a@cuda", cost_per_s=10.0)
    assert planned(decide(cheap, dear)) == ("a@cuda", Why.CHEAPEST)
    assert planned(decide(cheap, dear, objective_ms=60, deadline_ms=60)) == ("a@cpu", Why.CHEAPEST)


def test_busy_nodes_are_waited_for() -> None:
    """Until the first of them is free, by what they last promised."""
    busy = [Node(free_at_s=NOW_S + 0.014), Node(free_at_s=NOW_S + 0.020)]
    decision = decide(Lane("a@cpu", busy), objective_ms=30)
    assert isinstance(decision, Plan)
    assert decision.finish.foretold_s == pytest.approx(0.014 + 0.0011)
    assert planned(decide(Lane("a@cpu", busy), Lane("b@cpu"))) == ("b@cpu", Why.CHEAPEST)


def test_the_quantile_of_the_target_is_planned_for() -> None:
    """A lane whose answers vary by too much for 999 in 1,000 is good enough for nine in ten."""
    shaky, steady = Lane("a@cpu").takes_longer(0.008, spread_s=0.002), Lane("b@cpu", cost_per_s=9.0)
    assert planned(decide(shaky, steady, target=0.999)) == ("b@cpu", Why.CHEAPEST)
    assert planned(decide(shaky, steady, target=0.9)) == ("a@cpu", Why.CHEAPEST)


def test_else_the_fastest() -> None:
    """Where none is sure enough, the one expected first; and it says so."""
    one = Lane("a@cpu").takes_longer(0.012, spread_s=0.002)
    other = Lane("b@cpu").takes_longer(0.010, spread_s=0.002)
    assert planned(decide(one, other)) == ("b@cpu", Why.FASTEST)


def test_else_a_smaller_variant() -> None:
    """One that the route allows, when none of its own would be in time."""
    full, small = Lane("big@cpu", [slow()]).waits(24), Lane("small@cpu")
    assert planned(decide(full, smaller=[small])) == ("small@cpu", Why.SMALLER)
    assert planned(decide(Lane("big@cpu"), smaller=[small])) == ("big@cpu", Why.CHEAPEST)


def test_late_is_better_than_never_while_there_is_time_to_spare() -> None:
    """Past its objective, within its deadline, behind all that is due; not when work in time takes all there is."""
    lane = Lane("a@cpu", [slow()]).waits(24)
    assert planned(decide(lane, deadline_ms=200)) == ("a@cpu", Why.LATE)
    for _ in range(200):
        lane.forecast.submitted(Tier.STANDARD, units=1, due_s=NOW_S - 1, late=False, now_s=NOW_S)
        lane.forecast.left(Tier.STANDARD, NOW_S - 1)
    assert refused(decide(lane, deadline_ms=200)).reason == "OVERLOAD"


def test_overload_is_refused_with_when_to_come_back() -> None:
    """After as long as it would have been late by."""
    refusal = refused(decide(Lane("a@cpu", [slow()]).waits(24)))
    error = refusal.error()
    assert isinstance(error, Overloaded)
    assert error.reason == "OVERLOAD"
    assert error.retry_after_s == pytest.approx(refusal.finish_s - 0.015)
    assert refusal.error() is not error


def test_what_no_node_could_do_is_infeasible() -> None:
    """However little there is to do; with how long it takes, and how long there is."""
    refusal = refused(decide(Lane("a@cpu", [slow()]), objective_ms=8, deadline_ms=8))
    assert refusal.reason == "INFEASIBLE_DEADLINE"
    assert refusal.told == "takes 10.0 ms with nothing else to do, and has 8.0"
    assert planned(decide(Lane("a@cpu", [slow()]), Lane("b@cuda"), objective_ms=8, deadline_ms=8))[0] == "b@cuda"


def test_a_lane_that_nobody_waits_for_is_tried() -> None:
    """However slow it was lately: who is never asked never shows that he has become faster."""
    assert planned(decide(Lane("a@cpu").takes_longer(1.0))) == ("a@cpu", Why.FASTEST)
    assert refused(decide(Lane("a@cpu").takes_longer(1.0).waits(1))).reason == "OVERLOAD"


def test_a_full_lane_gives_way_to_the_next() -> None:
    """And all of them full is a refusal of its own."""
    full = Lane("a@cpu").waits(CAP, due_in_ms=1000)
    assert planned(decide(full, Lane("b@cpu"))) == ("b@cpu", Why.CHEAPEST)
    assert refused(decide(full)).reason == "QUEUE_FULL"


@pytest.mark.parametrize("lanes", [[], [Lane("a@cpu", nodes=[])]])
def test_no_node_at_all_is_unavailable(lanes: list[Lane]) -> None:
    """There is nobody to wait for."""
    error = refused(decide(*lanes)).error()
    assert isinstance(error, Unavailable)
    assert error.reason == "NO_NODE"


def test_a_closed_lane_is_used_over_its_links() -> None:
    """Without Redis the job is addressed to the node with the least to do."""
    busy, free = Node(backlog_s=0.005), Node(backlog_s=0.001)
    decision = decide(Lane("a@cpu", [busy, free], is_open=False))
    assert planned(decision) == ("a@cpu", Why.ADDRESSED)
    assert isinstance(decision, Plan)
    assert decision.node is free


def test_nodes_that_stand_back_are_addressed_when_the_others_are_late() -> None:
    """A slow node is quick enough for what has time."""
    back = Node(base_s=0.050, claims=False)
    lane = Lane("a@cpu", [slow(), back]).waits(48, due_in_ms=1)
    assert planned(decide(lane, objective_ms=60, deadline_ms=60)) == ("a@cpu", Why.ADDRESSED)
    assert refused(decide(lane, objective_ms=40, deadline_ms=40)).reason == "OVERLOAD"


def test_lower_tiers_yield_first() -> None:
    """Gold waits for gold alone, and batch for everybody: what the one is refused for is nothing to the other."""
    lane = Lane("a@cpu", [slow()]).waits(24, tier=Tier.STANDARD, due_in_ms=1)
    assert planned(decide(lane, tier=0)) == ("a@cpu", Why.CHEAPEST)
    assert refused(decide(lane, tier=1)).reason == "OVERLOAD"
    assert refused(decide(lane, tier=2)).reason == "OVERLOAD"


def test_jobs_that_are_due_later_come_later() -> None:
    """A lane is in the order of what is due: a long queue of those with time delays nobody in a hurry."""
    lane = Lane("a@cpu", [slow()]).waits(40, due_in_ms=500)
    assert planned(decide(lane)) == ("a@cpu", Why.CHEAPEST)


nodes = st.builds(
    Node,
    base_s=st.floats(0, 0.05),
    per_unit_s=st.floats(0, 0.001),
    batch_units=st.integers(0, 64),
    free_at_s=st.floats(NOW_S - 1, NOW_S + 0.1),
    backlog_s=st.floats(0, 0.1),
    claims=st.booleans(),
)
lanes = st.builds(
    lambda lane, nodes, is_open, jobs, due_ms, tier: Lane(lane, nodes, is_open).waits(
        jobs, due_in_ms=due_ms, tier=tier
    ),
    st.sampled_from(["big@cpu", "big@cuda", "small@cpu"]),
    st.lists(nodes, max_size=3),
    st.booleans(),
    st.integers(0, 2 * CAP),
    st.floats(0.1, 500),
    st.sampled_from(Tier),
)


@given(
    st.lists(lanes, max_size=4),
    st.lists(lanes, max_size=2),
    st.floats(0.5, 500),
    st.floats(1, 10),
    st.floats(1, 100),
    st.integers(0, 2),
)
def test_whatever_the_facts_the_answer_is_a_plan_or_a_reason(
    some: list[Lane], smaller: list[Lane], objective_ms: float, times: float, units: float, tier: int
) -> None:
    """It is possible in time, by the facts; only an open lane is used as such; and nothing given is changed."""
    before = copy.deepcopy([lane.forecast.waiting._due_s for lane in (*some, *smaller)])
    deadline_ms = objective_ms * times
    decision = decide(
        *some, smaller=smaller, objective_ms=objective_ms, deadline_ms=deadline_ms, units=units, tier=tier
    )
    assert [lane.forecast.waiting._due_s for lane in (*some, *smaller)] == before
    if isinstance(decision, Refused):
        assert decision.error().reason == decision.reason
        return
    able = [lane for lane in (*some, *smaller) if lane.lane == decision.lane and lane.nodes]
    assert able
    if decision.node is None:
        assert any(lane.is_open and lane.forecast.waiting.total < CAP for lane in able)
    else:
        assert any(decision.node is node for lane in able for node in lane.nodes)
    if decision.why is Why.CHEAPEST:
        assert decision.quantile_s <= objective_ms / 1e3 + 1e-9


def held_by(plans: Plans, *, objective_ms: float, jobs: int = 1) -> list[Plan | Refused]:
    """What so many requests get that come at one moment."""
    end_s = NOW_S + objective_ms / 1e3
    ask = Ask(units=1.0, rank=1, now_s=NOW_S, due_s=end_s, end_s=end_s, target=0.999, lane_cap=CAP)
    return [plans.plan(ask) for _ in range(jobs)]


def test_a_plan_is_not_kept_for_whoever_it_would_be_late_for() -> None:
    """Though there is little between them: all of an objective of 3 ms may lie there."""
    view = LaneView("a@cpu", is_open=True)
    view.forecast.renew([Node(base_s=0.002, per_unit_s=0.0)])
    view.nodes = view.forecast.nodes  # type: ignore[assignment]
    plans = Plans([view])
    [plan, again] = held_by(plans, objective_ms=3.0, jobs=2)
    assert plan is again
    assert held_by(plans, objective_ms=2.5) == [plan], "there is time enough for this one too"
    [other] = held_by(plans, objective_ms=1.5)
    assert refused(other).reason == "INFEASIBLE_DEADLINE"


def test_what_a_plan_was_given_for_already_counts_for_whoever_has_less_time() -> None:
    """It is good for as many as fit into its time to spare, and for fewer who have less of that."""
    view = LaneView("a@cpu", is_open=True)
    view.forecast.renew([Node(base_s=0.002, per_unit_s=0.0, batch_units=2)])
    view.nodes = view.forecast.nodes  # type: ignore[assignment]
    plans = Plans([view])
    [first, *_] = held_by(plans, objective_ms=7.0, jobs=5)
    assert isinstance(first, Plan)
    assert first.jobs == 5
    before = plans.made
    held_by(plans, objective_ms=5.1)
    assert plans.made == before + 1
