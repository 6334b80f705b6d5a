"""Fallbacks in time: what is left for them of a deadline, what looks cost, and callers who leave meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falling_back import LAST_GOOD, MARGIN_S, OTHER, POPULAR, SLA, STATIC, Sleep, SlowStore, Told, lose_nodes, mesh, toy
from isochrone.answers import digest_of
from isochrone.config import RouteConfig
from isochrone.credentials import ANONYMOUS
from isochrone.errors import DeadlineExceeded
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, SLEEP
from isochrone.testing.virtual_time import virtual_time
from isochrone_router.standby import LOOK_RESERVE_S, standby_of

# Time.


@virtual_time
@pytest.mark.parametrize("timeout_s", [None, 0.05, 0.004])
async def test_it_is_there_before_the_callers_deadline(timeout_s: float | None) -> None:
    """Time is kept for the look, at most half of it; the budget still tells the caller's own deadline."""
    store = SlowStore()
    sleep = Sleep()
    async with mesh(LAST_GOOD, store=store, sleep=sleep, routers=2) as at:
        sleep.stuck_s = 0.3
        at.router.fallbacks.cache.remember(key_of(at, toy(b"mine")), b"by the other", ttl_s=300)
        began_s = at.clock()
        answer = await at.call(SLEEP, toy(b"mine"), timeout_s=timeout_s, router=1)
        assert answer.payload == b"by the other"
        assert store.looks == 1
        assert answer.budget is not None
        deadline_s = timeout_s or 0.1
        assert answer.budget.deadline_ms == pytest.approx(1e3 * deadline_s, abs=0.01)
        assert at.clock() - began_s <= deadline_s - MARGIN_S
        if timeout_s != 0.004:  # else its node knew at once
            assert at.clock() - began_s >= deadline_s - MARGIN_S - 0.002


@virtual_time
async def test_a_store_that_says_nothing_costs_no_more_than_its_time() -> None:
    """Then the next way is taken; and a router that was refused at once doesn't wait for its deadline."""
    store = SlowStore()
    async with mesh(LAST_GOOD, STATIC, store=store) as at:
        store.look_s = 60
        await lose_nodes(at)
        began_s = at.clock()
        answer = await at.call(SLEEP, toy(b"mine"))
        assert answer.payload == POPULAR
        assert at.clock() - began_s == pytest.approx(0.020, abs=0.001)
        assert store.left == 1


@virtual_time
async def test_what_another_router_has_answered_is_found() -> None:
    """And known from then on."""
    store = SlowStore()
    async with mesh(LAST_GOOD, store=store, routers=2) as at:
        await at.call(SLEEP, toy(b"mine"))
        await lose_nodes(at)
        await asyncio.sleep(3)
        for _ in range(2):
            answer = await at.call(SLEEP, toy(b"mine"), router=1)
            assert answer.budget is not None
            assert answer.budget.fallback is not None
            assert answer.budget.fallback.age_s == pytest.approx(3, abs=0.1)
        assert store.looks == 1


@virtual_time
async def test_answers_are_kept_once_a_second() -> None:
    """Not each time the same request is answered."""
    store = SlowStore()
    async with mesh(LAST_GOOD, store=store) as at:
        for _ in range(20):
            await at.call(SLEEP, toy(b"mine"))
        assert store.puts == 1
        await asyncio.sleep(1)
        await at.call(SLEEP, toy(b"mine"))
        assert store.puts == 2


@given(
    deadline_s=st.floats(-1, 60),
    reserves_ms=st.lists(st.floats(0.1, 60_000), min_size=1, max_size=4),
    looks=st.booleans(),
)
def test_at_most_half_of_a_requests_time_is_reserved(deadline_s: float, reserves_ms: list[float], looks: bool) -> None:
    """However much the ways would like, and all that they would like where there is enough; a static answer needs
    none."""
    ways = [LAST_GOOD, STATIC, *({"route": ECHO, "reserve_ms": reserve_ms} for reserve_ms in reserves_ms)]
    routes = {
        SLEEP: RouteConfig.model_validate(SLA | {"lanes": ["a@cpu"], "fallback": ways}),
        ECHO: RouteConfig.model_validate(SLA | {"lanes": ["a@cpu"]}),
    }
    standby = standby_of(SLEEP, routes, looks=looks)
    assert standby.reserve_s == pytest.approx(sum(reserves_ms) / 1e3 + (LOOK_RESERVE_S if looks else 0))
    reserved_s = standby.scale(deadline_s) * standby.reserve_s
    assert 0 <= reserved_s <= max(0, deadline_s) / 2 + 1e-9
    assert reserved_s == pytest.approx(min(standby.reserve_s, max(0, deadline_s) / 2), abs=1e-9)


# Callers who leave.


@virtual_time
@pytest.mark.parametrize("fallback", [LAST_GOOD, OTHER], ids=["looking", "asking another route"])
async def test_a_caller_may_leave_while_something_else_is_tried(fallback: dict[str, Any]) -> None:
    """Then nothing is left of it, and it is told of once, as cancelled."""
    store = SlowStore()
    store.look_s = 0.015
    sleep = Sleep()
    async with mesh(fallback, store=store, sleep=sleep) as at:
        told = Told(at)
        sleep.stuck_s = 0.3
        waiting = asyncio.create_task(at.call(SLEEP, toy(b"mine"), timeout_s=0.1))
        await asyncio.sleep(0.0985 if fallback is LAST_GOOD else 0.09)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.sleep(1)
        assert [past.code for past in told.pasts] == ["CANCELLED"]
        assert [leg.code for leg in told.last.legs] == ([] if fallback is LAST_GOOD else ["CANCELLED"])
        assert store.left == (fallback is LAST_GOOD)
        assert at.under_way.requests == 0


@virtual_time
async def test_a_caller_who_leaves_his_own_request_is_told_of_once() -> None:
    """As without fallbacks."""
    sleep = Sleep()
    async with mesh(STATIC, sleep=sleep) as at:
        told = Told(at)
        sleep.stuck_s = 0.02
        first = asyncio.create_task(at.call(SLEEP, toy(b"one")))
        second = asyncio.create_task(at.call(SLEEP, toy(b"two")))
        await asyncio.sleep(0.001)
        second.cancel()
        await first
        assert sorted(past.code for past in told.pasts) == ["CANCELLED", "OK"]


@virtual_time
async def test_a_deadline_that_had_passed_on_arrival() -> None:
    """Is no reason to say nothing, where there is an answer at hand."""
    async with mesh(STATIC) as at:
        assert (await at.call(SLEEP, toy(b""), timeout_s=0.0)).payload == POPULAR
    async with mesh(LAST_GOOD, store=SlowStore()) as at:
        with pytest.raises(DeadlineExceeded):
            await at.call(SLEEP, toy(b""), timeout_s=0.0)


def key_of(at: LocalMesh, request: bytes) -> bytes:
    return digest_of(SLEEP, variant="", caller=ANONYMOUS, request=request)
