"""The router's small parts: attempt budget, table of flights, weights, answer margin."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakes import flight
from isochrone.config import LimitsConfig
from isochrone.errors import Overloaded, Unavailable
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone_router.attempts import AttemptBudget
from isochrone_router.flight import Flights
from isochrone_router.margin import AnswerMargin
from isochrone_router.weights import Weights

# AttemptBudget.


@given(st.floats(0, 1), st.lists(st.booleans(), max_size=400))
def test_second_attempts_stay_under_their_fraction(fraction: float, events: list[bool]) -> None:
    """Whatever comes when: no more second attempts than that fraction of the requests, past the first burst."""
    budget = AttemptBudget(fraction, burst=10)
    requests = sum(not wants_one for wants_one in events)
    taken = 0
    for wants_one in events:
        if wants_one:
            taken += budget.take()
        else:
            budget.earn()
    assert taken <= 10 + fraction * requests + 1e-6
    assert 0 <= budget.tokens <= 10


def test_a_death_finds_the_bucket_full() -> None:
    """A few dozen jobs at once can be sent again although the process has hardly earned anything."""
    budget = AttemptBudget(0.05)
    assert all(budget.take() for _ in range(256))
    assert not budget.take()
    for _ in range(21):
        budget.earn()
    assert budget.take()
    assert not budget.take()


def test_a_fraction_of_nothing_is_nothing() -> None:
    """Who configures no second attempts gets none, not a bucketful first."""
    budget = AttemptBudget(0.0)
    budget.earn()
    assert not budget.take()
    assert not budget.take_spare()


# Flights.


async def test_flights_are_counted_in_and_out() -> None:
    """Their number and bytes are those on the table, and taking one off twice is noticed."""
    flights = Flights(LimitsConfig())
    one, two = flight(request=b"12345"), flight(request=b"123")
    flights.add(one)
    flights.add(two)
    assert (len(flights), flights.bytes, list(flights)) == (2, 8, [one, two])
    assert flights.get(one.id) is one
    assert flights.remove(one)
    assert not flights.remove(one)
    assert (len(flights), flights.bytes, flights.get(one.id)) == (1, 3, None)


async def test_the_table_refuses_past_its_count() -> None:
    """With what would help: waiting a moment."""
    flights = Flights(LimitsConfig(inflight=2))
    for _ in range(2):
        assert flights.refusal(1, retry_after_s=0.015) is None
        flights.add(flight())
    refusal = flights.refusal(1, retry_after_s=0.015)
    assert isinstance(refusal, Overloaded)
    assert (refusal.reason, refusal.retry_after_s) == ("INFLIGHT_FULL", 0.015)


async def test_the_table_refuses_past_its_bytes() -> None:
    """A request may fill the table to the brim, and none may overflow it."""
    flights = Flights(LimitsConfig(inflight_bytes=2**16))
    flights.add(flight(request=bytes(2**16 - 10)))
    assert flights.refusal(10, retry_after_s=0.1) is None
    refusal = flights.refusal(11, retry_after_s=0.1)
    assert isinstance(refusal, Overloaded)
    assert refusal.reason == "BYTES_FULL"


async def test_a_flight_ends_once() -> None:
    """The first answer or error is the one; what comes later changes nothing."""
    ended = flight()
    ended.answer(b"first")
    ended.answer(b"second")
    ended.fail(Unavailable("too late to matter"))
    assert await ended.answered == b"first"


# Weights.


def test_nothing_known_weighs_one() -> None:
    """Until a node has counted."""
    assert Weights().estimate("a", size=10_000) == 1


@given(st.integers(1, 1000), st.integers(1, 200))
def test_weights_follow_what_nodes_count(rows: int, bytes_a_row: int) -> None:
    """The first answer of a route tells, and each route has its own scale."""
    weights = Weights()
    weights.learn("a", size=rows * bytes_a_row, units=rows)
    weights.learn("b", size=1, units=7)
    assert weights.estimate("a", size=50 * bytes_a_row) == pytest.approx(50, abs=1)
    assert weights.estimate("b", size=3) == 21


def test_weights_forget_slowly() -> None:
    """A route whose requests become four times as heavy is known to be after some dozen answers."""
    weights = Weights()
    weights.learn("a", size=100, units=10)
    weights.learn("a", size=100, units=40)
    assert weights.estimate("a", size=100) < 15
    for _ in range(100):
        weights.learn("a", size=100, units=40)
    assert weights.estimate("a", size=100) == 40


@given(st.integers(0, 10), st.integers(0, 10))
def test_an_empty_request_teaches_nothing(size: int, units: int) -> None:
    """And breaks nothing: every estimate is at least 1."""
    weights = Weights()
    weights.learn("a", size=size, units=units)
    assert weights.estimate("a", size=0) >= 1


# AnswerMargin.


def test_a_prompt_process_leaves_the_least_margin() -> None:
    """What is configured, and no more."""
    margin = AnswerMargin(0.0005)
    margin.observe(late_s=0.0)
    assert margin.margin_s == pytest.approx(0.0005)


def test_lateness_widens_the_margin_at_once_and_is_forgotten_slowly() -> None:
    """One bad moment counts in full, then less and less; and however bad, it is capped."""
    margin = AnswerMargin(0.0005)
    margin.observe(late_s=0.004)
    assert margin.margin_s == pytest.approx(0.0045)
    for _ in range(50):
        margin.observe(late_s=0.0)
    assert 0.0005 < margin.margin_s < 0.0025
    margin.observe(late_s=3.0)
    assert margin.margin_s == pytest.approx(0.0105)


@given(st.lists(st.floats(0, 10), max_size=50))
def test_the_margin_has_bounds(lateness: list[float]) -> None:
    """Never under what is configured, never over 10 ms more."""
    margin = AnswerMargin(0.0005)
    for late_s in lateness:
        margin.observe(late_s=late_s)
        assert 0.0005 <= margin.margin_s <= 0.0105 + 1e-12


@virtual_time
async def test_it_measures_by_itself() -> None:
    """A loop that was busy for 7 ms when its timer was due is found out."""
    margin = AnswerMargin(0.0005)
    measuring = asyncio.create_task(margin.run())
    await asyncio.sleep(1.0)
    assert margin.margin_s == pytest.approx(0.0005)
    asyncio.get_running_loop().call_later(0.049, virtual_clock().advance, 0.007)
    await asyncio.sleep(0.2)
    assert margin.margin_s > 0.0045
    measuring.cancel()
