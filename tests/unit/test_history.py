"""The console's history: counts at the start of each step, of which any span is the difference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isochrone.telemetry import DURATION_BUCKETS_S, STAGES
from isochrone_router.history import NOW_STEPS, STEP_S, STEPS, History, LaneCount, NodeCount, Reading, RouteCount

ROUTE, LANE, NODE = "shop.v1.Search/Rank", "ranker@cpu", "recsys-0"


class Counts:
    """A process's counts and its clock, as a test sets them."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.requests = self.met = self.depth = 0
        self.run = LaneCount(0, 0, 0)
        self.boot = 7
        self.history = History(self.read, clock=lambda: self.now_s)

    def read(self) -> Reading:
        durations = (self.requests, *[0] * len(DURATION_BUCKETS_S))
        stages = (self.requests * 100,) * len(STAGES)
        blamed = (self.requests - self.met, *[0] * (len(STAGES) - 1))
        return Reading(
            routes={ROUTE: RouteCount(self.requests, self.met, durations, stages, blamed)},
            nodes={NODE: NodeCount(self.requests, 2000 * self.requests, 3000 * self.requests)},
            depths={LANE: self.depth},
            runs={(LANE, self.boot): self.run},
        )

    def step(self, *, requests: int = 0, met: int = 0) -> None:
        """One step goes by in which so much happens."""
        self.requests += requests
        self.met += met
        self.now_s += STEP_S
        self.history.look()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=3 * STEPS))
def test_no_request_is_lost_or_counted_twice(steps: list[tuple[int, int]]) -> None:
    """The steps that are kept add up to the window."""
    counts = Counts()
    for met, missed in steps:
        counts.step(requests=met + missed, met=met)
    kept = [step.span.routes[ROUTE] for step in counts.history.steps(after=-1)]
    window = counts.history.window().routes[ROUTE]
    assert len(kept) == min(len(steps), STEPS)
    assert sum(count.requests for count in kept) == window.requests == sum(map(sum, steps[-STEPS:]))
    assert sum(count.met for count in kept) == window.met == sum(met for met, _ in steps[-STEPS:])


def test_now_is_the_last_steps_and_the_one_under_way() -> None:
    """What happened before is in the window alone."""
    counts = Counts()
    counts.step(requests=100)
    for _ in range(NOW_STEPS):
        counts.step(requests=1, met=1)
    counts.requests += 1
    counts.now_s += 2.0
    counts.history.look()
    now = counts.history.now()
    assert (now.routes[ROUTE].requests, now.routes[ROUTE].met, now.seconds) == (4, 3, NOW_STEPS * STEP_S + 2.0)
    assert counts.history.window().routes[ROUTE].requests == 104


def test_who_has_seen_some_steps_gets_the_newer_ones() -> None:
    """By their numbers, which count from the clock's zero: the same in every process of a machine."""
    counts = Counts()
    for _ in range(4):
        counts.step(requests=1)
    assert [step.number for step in counts.history.steps(after=-1)] == [200, 201, 202, 203]
    assert [step.number for step in counts.history.steps(after=201)] == [202, 203]
    assert list(counts.history.steps(after=203)) == []


def test_a_process_that_was_stopped_has_one_long_step() -> None:
    """It counts where it ended, and to newer ones only."""
    counts = Counts()
    counts.step(requests=1)
    counts.requests += 5
    counts.now_s += 4 * STEP_S
    counts.history.look()
    assert [(step.number, step.span.seconds) for step in counts.history.steps(after=-1)] == [(200, 5.0), (204, 20.0)]
    assert [step.span.routes[ROUTE].requests for step in counts.history.steps(after=202)] == [5]


def test_a_lane_shows_the_most_that_waited_in_a_step() -> None:
    """However empty it is when the step ends."""
    counts = Counts()
    counts.depth = 30
    counts.history.look()
    counts.depth = 0
    counts.step()
    counts.step()
    assert [step.deepest[LANE] for step in counts.history.steps(after=-1)] == [30, 0]


def test_a_node_that_starts_again_takes_nothing_back() -> None:
    """Its counts begin anew; what it ran before stays run, and what a new one says first was run before we knew it."""
    counts = Counts()
    counts.run = LaneCount(100, 20, 900)
    counts.step()
    counts.boot, counts.run = 8, LaneCount(3, 1, 30)
    counts.step()
    counts.run = LaneCount(5, 2, 50)
    counts.step()
    assert counts.history.window().lanes[LANE] == LaneCount(102, 21, 920)
    assert repr(counts.history) == "<History of 3 steps>"
