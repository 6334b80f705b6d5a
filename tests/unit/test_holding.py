"""Who waits for company, how long, and that all go together."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone_router.forecast import Forecast
from isochrone_router.holding import LEAST_S, Holding, hold_s
from isochrone_router.planner import Finish, Plan, Why

PLAN = Plan("m@gpu", finish=Finish(0.003, 0.003, 0.0), quantile_s=0.005)


def forecast(cost_per_s: float, *, batch_units: int = 32) -> Forecast:
    made = Forecast(cost_per_s=cost_per_s)
    made.batch_units = batch_units
    return made


def held(plan: Plan = PLAN, *, due_in_s: float = 0.045, dear: float = 10.0, batch_units: int = 32) -> float:
    lane = forecast(dear, batch_units=batch_units)
    return hold_s(plan, due_in_s=due_in_s, share=0.5, forecast=lane, cheapest=forecast(1.0))


def test_a_part_of_the_time_to_spare() -> None:
    """Of what is left beside the time that it takes at the quantile of its target."""
    assert held() == pytest.approx(0.020)


@pytest.mark.parametrize(
    "seconds",
    [
        held(dear=1.0),  # on a device that costs no more than the cheapest
        held(PLAN._replace(why=Why.FASTEST)),  # nobody will be in time for certain
        held(PLAN._replace(why=Why.LATE)),
        held(due_in_s=0.005 + LEAST_S),
        held(due_in_s=0.001),
        held(batch_units=0),  # answers are made step by step, each by itself
    ],
)
def test_who_does_not_wait(seconds: float) -> None:
    """Who has nothing to spare, or nothing to save."""
    assert seconds == 0.0


class Clock:
    """Calls at moments of a time that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def at(self, at_s: float, call: Callable[[], None]) -> None:
        self.calls.append((at_s, call))

    def until(self, now_s: float) -> None:
        for at_s, call in sorted((due for due in self.calls if due[0] <= now_s), key=lambda due: due[0]):
            self.calls.remove((at_s, call))
            self.now_s = at_s
            call()
        self.now_s = now_s


def test_all_go_when_the_first_is_due() -> None:
    """Whoever that is; and those of another lane when theirs is."""
    clock = Clock()
    gone: list[tuple[float, list[str]]] = []
    holding: Holding[str] = Holding(at=clock.at, release=lambda names: gone.append((clock.now_s, names)))
    holding.hold("a", "m@gpu", until_s=5.0, units=1, full_units=10)
    holding.hold("b", "m@gpu", until_s=3.0, units=1, full_units=10)
    holding.hold("c", "m@npu", until_s=4.0, units=1, full_units=10)
    clock.until(3.5)
    holding.hold("d", "m@gpu", until_s=6.0, units=1, full_units=10)  # whose time is not that of the first group's a
    clock.until(9.0)
    assert gone == [(3.0, ["a", "b"]), (4.0, ["c"]), (6.0, ["d"])]


def test_a_full_batch_waits_for_nobody() -> None:
    """It goes at once, and its timers then find nobody."""
    clock = Clock()
    gone: list[list[str]] = []
    holding: Holding[str] = Holding(at=clock.at, release=gone.append)
    holding.hold("a", "m@gpu", until_s=1.0, units=6, full_units=10)
    holding.hold("b", "m@gpu", until_s=2.0, units=4, full_units=10)
    assert gone == [["a", "b"]]
    clock.until(9.0)
    assert gone == [["a", "b"]]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.sampled_from("xy"), st.integers(1, 5)), max_size=40))
def test_everybody_goes_once_and_in_time(comers: list[tuple[float, float, str, int]]) -> None:
    """However they come."""
    clock = Clock()
    gone: dict[int, float] = {}

    def release(numbers: list[int]) -> None:
        for number in numbers:
            assert number not in gone
            gone[number] = clock.now_s

    holding: Holding[int] = Holding(at=clock.at, release=release)
    comers.sort()
    for number, (came_s, for_s, lane, units) in enumerate(comers):
        clock.until(came_s)
        holding.hold(number, lane, until_s=came_s + for_s, units=units, full_units=12)
    clock.until(3.0)
    assert sorted(gone) == list(range(len(comers)))
    for number, (came_s, for_s, _, _) in enumerate(comers):
        assert came_s <= gone[number] <= came_s + for_s
