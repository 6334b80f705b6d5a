"""The simulator: every request ends once, the same seed tells the same story, and queues do as is known of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path
from random import Random
from statistics import mean, pstdev
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from isochrone.batching import Limits
from isochrone.errors import ConfigError
from isochrone.keys import Tier
from isochrone.simulator.arrivals import RateCurve, arrivals, moments
from isochrone.simulator.comparison import compare, highest_of_capacity
from isochrone.simulator.contender import Batching, Contender, Placement
from isochrone.simulator.engine import Engine
from isochrone.simulator.gate import TURN_S
from isochrone.simulator.job import Job
from isochrone.simulator.outcome import Figure, Outcome, outcome
from isochrone.simulator.peers import Aimd, SizeOrTimer
from isochrone.simulator.scenario import ArrivalsConfig, Scenario, SearchConfig, load_scenario
from isochrone.simulator.world import World, simulate

SCENARIOS = Path(__file__).parents[2] / "examples/scenarios"
COMBINATIONS = [
    (batching, placement)
    for batching in Batching
    for placement in Placement
    if placement is not Placement.PLANNER or batching is Batching.DEADLINE
]


def scenario(**changes: Any) -> Scenario:
    """Two nodes of 2 ms + 0.25 ms a job, 15 and 100 ms promised, three seconds of load."""
    data: dict[str, Any] = {
        "scenario": "small",
        "duration_s": 3,
        "routes": {
            "shop.v1.Ranker/Tight": {"objective_ms": 15, "deadline_ms": 40, "lanes": ["ranker@cpu"], "share": 2},
            "shop.v1.Ranker/Loose": {"objective_ms": 100, "deadline_ms": 300, "lanes": ["ranker@cpu"], "tier": "batch"},
        },
        "arrivals": {"kind": "poisson", "of_capacity": 0.5},
        "network": {"hop_us": 100, "router_us": 50},
        "pools": {"cpu": {"nodes": 2, "serves": {"ranker": {"base_ms": 2, "per_unit_ms": 0.25}}}},
    }
    return Scenario.model_validate(data | changes)


def run(of: Scenario, **contender: Any) -> Outcome:
    return outcome(of, simulate(of, Contender(**contender)))


@pytest.mark.parametrize(("batching", "placement"), COMBINATIONS)
@given(
    load=st.floats(0.1, 4),
    cv=st.floats(0.5, 5),
    seed=st.integers(0, 1000),
    processes=st.integers(1, 3),
    drops=st.sampled_from([None, True, False]),
    events=st.lists(
        st.fixed_dictionaries(
            {
                "at_s": st.floats(0, 0.4),
                "pool": st.just("cpu"),
                "does": st.sampled_from(["fail", "return", "slow"]),
                "nodes": st.integers(1, 3),
                "factor": st.floats(0.5, 20),
            }
        ),
        max_size=4,
    ),
)
@settings(max_examples=5, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
def test_every_request_ends_exactly_once(
    batching: Batching,
    placement: Placement,
    load: float,
    cv: float,
    seed: int,
    processes: int,
    drops: bool | None,
    events: list[dict[str, Any]],
) -> None:
    """Whatever nodes do meanwhile: nothing is lost from the count, and nothing counted twice."""
    some = scenario(
        duration_s=0.4,
        seed=seed,
        arrivals={"kind": "gamma", "cv": cv, "of_capacity": load},
        pools={"cpu": {"nodes": 3, "serves": {"ranker": {"base_ms": 2, "per_unit_ms": 0.25}}}},
        router={"processes": processes},
        events=events,
    )
    came = sum(1 for _ in arrivals(some))
    world = World(some, Contender(batching=batching, placement=placement, drops=drops))
    tally = world.run()
    assert sum(sum(ends.values()) for ends in tally.ends) == came
    found = outcome(some, tally)
    assert sum((found.in_time, found.late, found.refused, found.dropped, found.expired)) == pytest.approx(
        float(bool(came))
    )
    assert sum(found.causes.values()) == came - round(found.in_time * came)


@pytest.mark.parametrize(("batching", "placement"), [("deadline", "planner"), ("size-or-timer", "random")])
def test_the_same_seed_tells_the_same_story(batching: str, placement: str) -> None:
    """To the last digit; another seed another."""
    some = scenario(duration_s=1, router={"processes": 2})
    first = run(some, batching=batching, placement=placement)
    assert run(some, batching=batching, placement=placement) == first
    assert run(some.with_seed(2), batching=batching, placement=placement) != first


def test_contenders_meet_the_same_requests() -> None:
    """What is asked doesn't depend on who answers."""
    some = scenario(duration_s=0.5)
    assert run(some).offered == run(some, batching="none", placement="random").offered


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_by_one_waits_as_a_queue_does(load: float) -> None:
    """A node that takes 5 ms for each is M/D/1: the mean wait is load / (2 - 2·load) of 5 ms."""
    some = scenario(
        duration_s=100,
        routes={"shop.v1.Ranker/Rank": {"objective_ms": 60_000, "deadline_ms": 60_000, "lanes": ["ranker@cpu"]}},
        arrivals={"kind": "poisson", "rate_per_s": load * 200},
        pools={"cpu": {"nodes": 1, "serves": {"ranker": {"base_ms": 5, "per_unit_ms": 0, "spread": 0}}}},
        network={"hop_us": 0, "router_us": 0},
    )
    tally = simulate(some, Contender(batching=Batching.NONE, placement=Placement.LANE))
    waited_s = mean(tally.latencies_s[0]) - 0.005
    assert waited_s == pytest.approx(0.005 * load / (2 * (1 - load)), rel=0.2)


def test_an_idle_mesh_takes_its_hops_and_its_batch() -> None:
    """Router, lane, node and back: twice the router, a turn of its loop and three hops beside the batch of one."""
    some = scenario(
        arrivals={"kind": "poisson", "rate_per_s": 5},
        pools={"cpu": {"nodes": 2, "serves": {"ranker": {"base_ms": 2, "per_unit_ms": 0.25, "spread": 0}}}},
    )
    assert run(some).p50_ms == pytest.approx(2.25 + 0.1 + 0.3 + TURN_S * 1e3)


def test_bursts_cost_size_or_timer_what_they_are_known_to() -> None:
    """At CV 4 and half of capacity the best of some settings is far from 99 % in time, at a fifth it is near."""
    settings_of = Contender(batching=Batching.SIZE_OR_TIMER, placement=Placement.LANE, jobs=(8, 32), timer_ms=(1, 4))
    three = load_scenario(SCENARIOS / "bursty.yaml").model_copy(update={"duration_s": 8.0})

    def best(load: float) -> float:
        at = three.at_rate(load * three.capacity_per_s)
        return max(outcome(at, simulate(at, setting)).in_time for setting in settings_of.settings)

    assert best(0.2) > 0.985
    assert best(0.8) < 0.95


def test_the_planner_refuses_what_others_take_too_late() -> None:
    """At twice capacity: no compute for the dead, where size-or-timer has nothing else."""
    routes = {name: route.model_copy(update={"tier": Tier.STANDARD}) for name, route in scenario().routes.items()}
    some = scenario(duration_s=2, warmup_s=0.5).model_copy(update={"routes": routes})
    some = some.at_rate(2 * some.capacity_per_s)
    ours = run(some)
    theirs = run(some, batching="size-or-timer", placement="lane", jobs=64, timer_ms=2)
    assert ours.refused > 0.2
    assert ours.expired_compute < 0.01 < 0.5 < theirs.expired_compute
    assert ours.goodput_per_s > 10 * theirs.goodput_per_s


def test_batches_that_vary_do_not_keep_nodes_from_full_ones() -> None:
    """With batches a fifth off, half of all claims find their node idle, and what was known of the lane is old."""
    some = scenario(
        duration_s=6,
        warmup_s=1,
        routes={"shop.v1.Ranker/Rank": {"objective_ms": 80, "deadline_ms": 200, "lanes": ["ranker@cpu"]}},
        arrivals={"kind": "poisson", "of_capacity": 0.7},
        network={"hop_us": 500, "router_us": 500},
        pools={
            "cpu": {
                "nodes": 3,
                "serves": {"ranker": {"base_ms": 20, "per_unit_ms": 2, "spread": 0.2, "batch_jobs": 8}},
            }
        },
    )
    assert run(some).in_time > 0.96


def test_a_lost_job_goes_to_whoever_would_be_done_first() -> None:
    """Not to whoever has least of this router: others keep that one busy."""
    pools = {"cpu": {"nodes": 3, "serves": {"ranker": {"base_ms": 2, "per_unit_ms": 0.25}}}}
    world = World(scenario(pools=pools), Contender())
    lost, busy, has_one = world.nodes["cpu"]
    planner = world._planners[0]
    planner.linked({node: node.variants() for node in (lost, busy, has_one)})  # type: ignore[union-attr]
    planner._seen[busy].free_at_s = 1.0
    planner._seen[has_one].given = 1
    job = Job(
        1,
        route=0,
        units=1,
        tier=Tier.STANDARD,
        arrived_s=0.0,
        objective_s=0.015,
        deadline_s=0.04,
        drops=True,
        router=world.routers[0],
    )
    job.lane = "ranker@cpu"
    assert planner.another(job, 0.0, but=lost) is has_one
    assert planner._seen[has_one].free_at_s > 0.0


def test_jobs_of_a_node_that_dies_go_to_another() -> None:
    """Within the attempt budget, and in time where there is time."""
    some = scenario(events=[{"at_s": 1, "pool": "cpu", "does": "fail"}], arrivals={"rate_per_s": 600})
    found = run(some)
    assert found.second_attempts > 0
    assert found.in_time > 0.99
    assert "lost: its node died" not in found.causes


def test_without_a_node_everything_is_refused() -> None:
    """By name: nobody waits for an answer that can't come."""
    found = run(scenario(duration_s=1, events=[{"at_s": 0.0, "pool": "cpu", "does": "fail", "nodes": 2}]))
    assert found.in_time == 0
    assert set(found.causes) <= {"refused: NO_NODE", "lost: its node died"}


def test_a_split_sends_each_pool_its_part() -> None:
    """Whatever happens there."""
    some = scenario(
        routes={"shop.v1.Ranker/Rank": {"objective_ms": 50, "deadline_ms": 90, "lanes": ["ranker@cpu", "ranker@cuda"]}},
        pools={
            "cpu": {"nodes": 2, "serves": {"ranker": {"base_ms": 2, "per_unit_ms": 1}}},
            "gpu": {"device": "cuda", "nodes": 1, "serves": {"ranker": {"base_ms": 2, "per_unit_ms": 1}}},
        },
        arrivals={"rate_per_s": 100},
    )
    tally = simulate(some, Contender(batching=Batching.NONE, placement=Placement.RANDOM, split={"cpu": 3, "gpu": 1}))
    assert tally.busy_s["cpu"] / tally.busy_s["gpu"] == pytest.approx(3, rel=0.35)
    assert simulate(some, Contender(split={"gpu": 1}, placement=Placement.LANE)).busy_s["cpu"] == 0


def test_the_cheapest_that_will_be_in_time_gets_the_work() -> None:
    """With little to do, the dear node has nothing to do at all."""
    day = load_scenario(SCENARIOS / "day.yaml")
    quiet = day.model_copy(update={"duration_s": 20.0}).at_rate(20)
    tally = simulate(quiet, Contender())
    assert tally.busy_s["cuda"] < 0.02 * tally.busy_s["cpu"]


@pytest.mark.parametrize("cv", [1.0, 2.0, 4.0])
def test_gaps_are_spread_as_asked(cv: float) -> None:
    """Mean and coefficient of variation."""
    config = ArrivalsConfig(kind="gamma", cv=cv, rate_per_s=50)
    at_s = list(islice(moments(config, 50, Random(7)), 60_000))
    gaps_s = [later - earlier for earlier, later in pairwise(at_s)]
    assert mean(gaps_s) == pytest.approx(0.02, rel=0.05)
    assert pstdev(gaps_s) / mean(gaps_s) == pytest.approx(cv, rel=0.06)


@given(
    st.lists(st.tuples(st.floats(0.1, 50), st.floats(0, 3)), min_size=1, max_size=5),
    st.floats(1, 100),
    st.lists(st.floats(0, 500), min_size=2, max_size=20),
)
def test_a_curve_never_runs_backwards(steps: list[tuple[float, float]], rate: float, expected: list[float]) -> None:
    """More requests are expected later, round after round."""
    points, at_s = [(0.0, 1.0)], 0.0
    for step, factor in steps:
        at_s += step
        points.append((at_s, factor))
    curve = RateCurve(points, rate)
    found = [curve.moment(count) for count in sorted(expected)]
    assert all(later >= earlier - 1e-9 for earlier, later in pairwise(found))


def test_a_curve_brings_what_its_area_says() -> None:
    """Half the time at nothing to all, the other half at all: three quarters of the requests."""
    curve = RateCurve([(0, 0), (10, 1), (20, 1)], 100)
    assert curve.moment(500) == pytest.approx(10)
    assert curve.moment(1500) == pytest.approx(20)
    assert curve.moment(1500 + 500) == pytest.approx(30)


def recorded(tmp_path: Path, name: str, text: str) -> Scenario:
    path = tmp_path / name
    path.write_text(text)
    return scenario(arrivals={"kind": "recorded", "file": str(path), "speed": 2})


def test_recorded_arrivals_come_as_they_came(tmp_path: Path) -> None:
    """Twice as fast, if asked; from the first on; CSV or JSON lines."""
    rows = [(10.0, "shop.v1.Ranker/Loose", 3), (10.5, "shop.v1.Ranker/Tight", 1), (11.0, "shop.v1.Ranker/Loose", 2)]
    table = "at_s,route,units\n" + "".join(f"{at_s},{route},{units}\n" for at_s, route, units in rows)
    lines = "".join(json.dumps({"at_s": at_s, "route": route, "units": units}) + "\n" for at_s, route, units in rows)
    for found in (recorded(tmp_path, "a.csv", table), recorded(tmp_path, "a.jsonl", lines)):
        assert [(each.at_s, each.route, each.units) for each in arrivals(found)] == [
            (0, 1, 3),
            (0.25, 0, 1),
            (0.5, 1, 2),
        ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("at_s,route\n1,shop.v1.Ranker/None\n", "2: no route 'shop.v1.Ranker/None'"),
        ("route\nshop.v1.Ranker/Tight\n", "2: at_s is required"),
        ("at_s\n2\n1\n", "3: at_s 1 comes after a later one"),
        ("at_s\nsoon\n", "2: could not convert"),
        ('{"at_s": 1}\nnone\n', "2: not a JSON object"),
    ],
)
def test_what_is_wrong_with_a_recording_is_said_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    """For whoever wrote the file."""
    with pytest.raises(ConfigError, match=told):
        list(arrivals(recorded(tmp_path, "bad.csv", text)))


class Waits:
    """A job in a queue of others'."""

    def __init__(self, given_s: float) -> None:
        self.units, self.given_s = 1, given_s


def test_size_or_timer_waits_for_either() -> None:
    """And looks again when the timer runs out."""
    from collections import deque

    batcher = SizeOrTimer(Limits(units=64, jobs=64), jobs=3, timer_s=0.005)
    two: Any = deque(Waits(1.0 + 0.001 * index) for index in range(2))
    assert batcher.take(two, 1.002) == (0, 1.005)
    assert batcher.take(two, 1.005).jobs == 2
    two.append(Waits(1.003))
    assert batcher.take(two, 1.003).jobs == 3


def test_aimd_grows_by_one_and_shrinks_by_a_tenth() -> None:
    """Between one job and the model's limit."""
    from collections import deque

    batcher = Aimd(Limits(units=64, jobs=8), objective_s=0.01)
    many: Any = deque(Waits(0.0) for _ in range(20))
    sizes = []
    for _ in range(10):
        sizes.append(batcher.take(many, 0.0).jobs)
        batcher.ran(0.001)
    assert sizes == [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]
    batcher.ran(0.02)
    assert batcher.size == pytest.approx(7.2)


def test_the_engine_keeps_order_in_a_moment() -> None:
    """What was planned first happens first, and the past is now."""
    engine, happened = Engine(), []
    note: Callable[[str], None] = happened.append
    engine.at(1.0, note, "b")
    engine.at(0.5, note, "a")
    engine.at(1.0, note, "c")
    engine.at(2.0, note, "never")
    engine.run(1.5)
    engine.at(0.1, note, "late")
    engine.run(1.5)
    assert happened == ["a", "b", "c", "late"]
    assert engine.now_s == 1.5


def test_the_best_of_a_grid_is_shown() -> None:
    """With how many were tried, and several seeds as the median between lowest and highest."""
    some = scenario(
        duration_s=0.5,
        compare=[{"batching": "size-or-timer", "placement": "lane", "jobs": [1, 16], "timer_ms": [1, 500]}],
        sweep={"of_capacity": [0.3, 0.6]},
    )
    found = compare(some, runs=3, say=lambda line: None)
    assert [row.of_capacity for row in found.rows] == [0.3, 0.6]
    row = found.rows[0]
    assert row.tried == 4
    assert row.contender.setting == "16 or 1 ms"
    assert len(row.outcomes) == 3
    assert row.figure("offered").low < row.figure("offered").high
    assert json.loads(json.dumps(found.as_json()))["rows"][0]["settings_tried"] == 4


def test_the_highest_rate_lies_between_what_does_and_what_does_not() -> None:
    """By bisection; a setting that can't beat another is left after one run."""
    some = scenario(duration_s=1)
    search = SearchConfig(within=0.99, precision=0.05)
    one_by_one = Contender(batching=Batching.NONE, placement=Placement.LANE)
    found = highest_of_capacity(some, search, one_by_one)
    for load, will_do in ((0.9 * found, True), (1.15 * found, False)):
        at = some.at_rate(load * some.capacity_per_s)
        assert (outcome(at, simulate(at, one_by_one)).in_time >= 0.99) is will_do
    assert highest_of_capacity(some, search, one_by_one, at_least=2 * found) == 0.0


def test_a_figure_is_the_median_between_the_extremes() -> None:
    """Of several runs."""
    assert Figure.of([3, 1, 2]) == Figure(2, 1, 3)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_committed_scenarios_can_be_read(path: Path) -> None:
    """Each is named as its file, and offers its nodes something to do."""
    found = load_scenario(path)
    assert found.scenario == path.stem
    assert found.about
    assert found.capacity_per_s > 0
    assert next(iter(arrivals(found)))


def test_capacity_is_what_full_batches_do() -> None:
    """Two nodes, 64 jobs in 18 ms each."""
    assert scenario().capacity_per_s == pytest.approx(2 * 64 / 0.018)
