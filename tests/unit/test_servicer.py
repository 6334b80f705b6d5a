"""The servicer: admission, and what a caller's deadline means. Over a mesh in memory."""

from __future__ import annotations

import asyncio

import pytest

from isochrone.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable
from isochrone.starting import awaited
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, SLEEP, EchoModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time

MARGIN_S = 0.0005
ROUTES = {ECHO: {"objective_ms": 15, "deadline_ms": 100}, SLEEP: {"objective_ms": 15, "deadline_ms": 100}}


def mesh(*, sleep_ms: float = 5.0, **limits: int) -> LocalMesh:
    sleeper = SleepModel(sleep_ms=sleep_ms, batch_jobs=1, sleep=virtual_clock().advance)
    return LocalMesh([EchoModel(), sleeper], routes=ROUTES, router={"limits": limits})


@virtual_time
async def test_the_routes_own_deadline_holds_where_the_caller_has_none() -> None:
    """Both are in the budget, with the objective."""
    async with mesh() as at:
        for timeout_s, deadline_ms in ((None, 100), (0.050, 50), (3600, 100)):
            budget = (await at.call(ECHO, b"", timeout_s=timeout_s)).budget
            assert budget is not None
            assert (budget.objective_ms, budget.deadline_ms) == (15, pytest.approx(deadline_ms, abs=0.01))


@virtual_time
async def test_a_caller_in_a_hurry_tightens_the_objective() -> None:
    """A deadline under it is planned for."""
    async with mesh() as at:
        budget = (await at.call(ECHO, b"", timeout_s=0.010)).budget
        assert budget is not None
        assert budget.objective_ms == pytest.approx(10, abs=0.01)


@virtual_time
@pytest.mark.parametrize("timeout_s", [-1.0, 0.0, MARGIN_S])
async def test_a_deadline_that_had_passed_on_arrival_is_refused(timeout_s: float) -> None:
    """Before it costs anything: there is no time left even to say no."""
    async with mesh() as at:
        with pytest.raises(DeadlineExceeded, match="on arrival"):
            await at.call(ECHO, b"", timeout_s=timeout_s)
        assert len(at.router.flights) == 0


@virtual_time
async def test_the_answer_leaves_a_margin_before_the_deadline() -> None:
    """An error, if there is nothing better; it too has to arrive."""
    clock = virtual_clock()
    sleeper = SleepModel(sleep_ms=5, sleep=lambda seconds: clock.advance(20 * seconds if running else seconds))
    running: list[str] = []
    async with LocalMesh([sleeper], routes={SLEEP: ROUTES[SLEEP]}) as at:
        running.append("slower than it was when it was measured")
        asked_s = clock()
        with pytest.raises(DeadlineExceeded) as caught:
            await at.call(SLEEP, b"", timeout_s=0.060)
        assert clock() - asked_s <= 0.060 - MARGIN_S + 1e-6
        assert caught.value.budget.missed


@virtual_time
async def test_a_plan_keeps_to_when_the_answer_must_leave() -> None:
    """What would be done by the caller's deadline, but not by the margin before it, is not promised."""
    async with mesh(sleep_ms=5.0) as at:
        with pytest.raises(Overloaded):
            await at.call(SLEEP, b"", timeout_s=0.005 + MARGIN_S / 2)
        flight_ends_s = []
        dispatch = at.router.dispatcher.dispatch
        at.router.dispatcher.dispatch = lambda flight, plan: (  # type: ignore[method-assign]
            flight_ends_s.append((flight.due_at_s, flight.expires_at_s)),
            dispatch(flight, plan),
        )[1]
        await at.call(SLEEP, b"", timeout_s=0.010)
        [(due_at_s, expires_at_s)] = flight_ends_s
        assert due_at_s <= expires_at_s


@virtual_time
async def test_a_request_too_large_is_refused() -> None:
    """With the limit, and as the caller's to mend."""
    async with mesh(request_bytes=2048) as at:
        await at.call(ECHO, bytes(2048))
        with pytest.raises(InvalidRequest, match="has 2049 bytes; at most 2048"):
            await at.call(ECHO, bytes(2049))


@virtual_time
async def test_more_requests_than_the_process_may_own_are_refused() -> None:
    """Those under way are answered; and then there is room again."""
    async with mesh(inflight=3) as at:
        calls = [asyncio.create_task(at.call(SLEEP, b"")) for _ in range(3)]
        await asyncio.sleep(0.001)
        with pytest.raises(Overloaded) as caught:
            await at.call(ECHO, b"")
        assert (caught.value.reason, caught.value.retry_after_s) == ("INFLIGHT_FULL", 0.015)
        await asyncio.gather(*calls)
        await at.call(ECHO, b"")


@virtual_time
async def test_a_router_that_is_leaving_says_so() -> None:
    """So that a client goes to another at once."""
    async with mesh() as at:
        at.router.servicer.draining = True
        with pytest.raises(Unavailable) as caught:
            await at.call(ECHO, b"")
        assert caught.value.reason == "DRAINING"


@virtual_time
async def test_everything_is_counted() -> None:
    """Answers and refusals by code, and what met its objective."""
    async with mesh() as at:
        stats = at.router.chronicle.stats[SLEEP]
        await at.call(SLEEP, b"")
        await asyncio.gather(*(at.call(SLEEP, b"") for _ in range(4)))
        leaving = asyncio.create_task(at.call(SLEEP, b""))
        await asyncio.sleep(0.001)
        leaving.cancel()
        await asyncio.wait([leaving])
        for timeout_s, refusal in ((0.0, DeadlineExceeded), (0.001, Overloaded)):
            with pytest.raises(refusal):
                await at.call(SLEEP, b"", timeout_s=timeout_s)
        assert dict(stats.outcomes) == {"OK": 5, "CANCELLED": 1, "DEADLINE_EXCEEDED": 1, "RESOURCE_EXHAUSTED": 1}
        assert stats.met == 1 + 3
        assert stats.requests == 8


@virtual_time
async def test_weights_are_learnt_from_answers() -> None:
    """What a node counted tells how heavy the next request of that size will be."""
    async with mesh() as at:
        message = toy_pb2.ToyMessage(units=50, body=bytes(100)).SerializeToString()
        await at.call(SLEEP, message)
        weights = at.router.servicer._weights
        assert weights.estimate(SLEEP, size=len(message)) == 50
        assert weights.estimate(SLEEP, size=2 * len(message)) == 100


@virtual_time
async def test_a_higher_tier_is_claimed_first() -> None:
    """Whatever waits in the lane below it; within a tier the most urgent goes first."""
    ended: list[str] = []
    async with mesh() as at:
        call = at.make_call(SLEEP, b"", timeout_s=0.1)
        busy = asyncio.create_task(awaited(at.router.front.start, call))
        await asyncio.sleep(0.001)

        async def asked(tier: str) -> None:
            await awaited(at.router.front.start, call._replace(tier=tier))
            ended.append(tier)

        await asyncio.gather(busy, *map(asked, ("batch", "standard", "gold", "")))
    assert ended.index("gold") < ended.index("standard") < ended.index("batch")


@virtual_time
async def test_a_tier_that_there_is_not() -> None:
    """The caller is told which there are."""
    async with mesh() as at:
        call = at.make_call(ECHO, b"")._replace(tier="platinum")
        with pytest.raises(InvalidRequest, match="gold, standard, batch"):
            await awaited(at.router.front.start, call)
