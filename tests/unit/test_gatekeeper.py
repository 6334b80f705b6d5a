"""The gatekeeper: what is refused, how it is told, and what requests give back at their end. Over a mesh in memory."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from isochrone.credentials import NONE, Credentials, hash_of
from isochrone.errors import IsochroneError, Overloaded, PermissionDenied, Unauthenticated, UnknownRoute, UnknownVariant
from isochrone.memory_quotas import MemoryQuotas
from isochrone.rpc import Call
from isochrone.starting import awaited, streamed
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, REPEAT, SLEEP, EchoModel, RepeatModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import budget_pb2, router_pb2
from isochrone_router import readings
from isochrone_router.allowance import Quota
from isochrone_router.front import FAN_OUT
from isochrone_router.lessor import Lessor
from isochrone_router.past import Past

ROUTES = {route: {"objective_ms": 500, "deadline_ms": 2000} for route in (ECHO, SLEEP, REPEAT)}
CALLERS: dict[str, dict[str, Any]] = {
    "shop": {"tokens": [hash_of("shop")], "tiers": ["gold", "standard"]},
    "few": {"tokens": [hash_of("few")], "concurrency": 2, "tiers": ["batch"]},
    "slow": {"tokens": [hash_of("slow")], "rate_per_s": 10, "burst": 4},
}


def mesh(**more: Any) -> LocalMesh:
    models = [EchoModel(), SleepModel(sleep_ms=20, batch_jobs=1, sleep=virtual_clock().advance), RepeatModel()]
    return LocalMesh(models, routes=ROUTES, **{"callers": CALLERS} | more)


def call(at: LocalMesh, caller: str, route: str = ECHO, *, tier: str = "", request: bytes = b"") -> Call:
    shown = Credentials(hash_of(caller)) if caller else NONE
    return at.make_call(route, request)._replace(credentials=shown, tier=tier)


async def ask(at: LocalMesh, caller: str, route: str = ECHO, *, router: int = 0, **options: Any) -> str:
    """ "OK" or the reason; with either there is a report, whose caller is right."""
    try:
        answered = await awaited(at.routers[router].front.start, call(at, caller, route, **options))
    except IsochroneError as error:
        known = caller if caller in CALLERS else ""
        return error.reason if error.budget.caller == known else f"{error.reason} of {error.budget.caller!r}"
    assert answered.budget.caller == caller
    return "OK"


def page(*routes: str, required: bool = False) -> bytes:
    legs = [router_pb2.Leg(name=str(n), route=route, required=required) for n, route in enumerate(routes)]
    return router_pb2.FanOutRequest(legs=legs).SerializeToString()


@virtual_time
async def test_refusals_are_told_like_any_other() -> None:
    """They count for their route by code and reason, are remembered, and count for their caller."""
    async with mesh() as at:
        pasts: list[Past] = []
        at.router.chronicle._listeners = [*at.router.chronicle._listeners, pasts.append]
        assert await ask(at, "") == "NO_CREDENTIALS"
        assert await ask(at, "nobody") == "UNKNOWN_CALLER"
        assert await ask(at, "shop", tier="batch") == "TIER_DENIED"
        assert await ask(at, "shop", tier="gold") == "OK"
        stats = at.router.chronicle.stats[ECHO]
        assert stats.outcomes == {"UNAUTHENTICATED": 2, "PERMISSION_DENIED": 1, "OK": 1}
        assert stats.refusals == {"NO_CREDENTIALS": 1, "UNKNOWN_CALLER": 1, "TIER_DENIED": 1}
        assert [(past.report.caller, past.report.tier) for past in pasts] == [
            *[("", "standard"), ("", "standard"), ("shop", "batch"), ("shop", "gold")]
        ]
        assert all(past.report.objective_us == 500_000 for past in pasts)
        assert len(at.router.flights) == 0
        callers = at.router.callers
        assert callers is not None
        assert callers.stats.requests == {
            ("other", "standard", "UNAUTHENTICATED"): 2,
            ("shop", "batch", "PERMISSION_DENIED"): 1,
            ("shop", "gold", "OK"): 1,
        }


class Context:
    """An RPC whose peer has a verified certificate."""

    def auth_context(self) -> dict[str, list[bytes]]:
        return {"x509_common_name": [b"backend"], "x509_subject_alternative_name": [b"spiffe://shop/web"]}


@virtual_time
async def test_certificates_are_looked_at_where_any_is_known() -> None:
    """And tokens always."""
    context, metadata = Context(), [("authorization", "Bearer few")]
    async with mesh() as at:
        gatekeeper = at.router._gatekeeper
        assert gatekeeper is not None
        assert gatekeeper.credentials(metadata, context) == Credentials(hash_of("few"))
        assert gatekeeper.credentials((), context) is NONE
    async with mesh(callers={"web": {"certificates": ["spiffe://shop/web"]}}) as at:
        gatekeeper = at.router._gatekeeper
        assert gatekeeper is not None
        shown = gatekeeper.credentials((), context)
        assert shown == Credentials(names=("spiffe://shop/web", "backend"))
        answered = await awaited(at.router.front.start, call(at, "")._replace(credentials=shown))
        assert answered.budget.caller == "web"


@virtual_time
async def test_who_is_nobody_learns_no_routes() -> None:
    """Of one that there isn't it hears what it hears of all others."""
    async with mesh() as at:
        with pytest.raises(Unauthenticated):
            await awaited(at.router.front.start, call(at, "nobody", "isochrone.v1.Secret/Call"))


@virtual_time
async def test_a_request_waits_in_the_tier_of_its_caller() -> None:
    """Where it asks for none: standard if it may use that, else the first of its own."""
    async with mesh() as at:
        for caller, tier in (("shop", "standard"), ("few", "batch")):
            assert (await awaited(at.router.front.start, call(at, caller))).budget.tier == tier


@virtual_time
async def test_a_slot_is_free_again_however_its_request_ends() -> None:
    """Answered, failed, refused by the route, or left; whole or as a stream that is closed."""
    async with mesh() as at:
        for _ in range(3):
            calls = [asyncio.create_task(ask(at, "few", SLEEP)) for _ in range(2)]
            await asyncio.sleep(0.001)
            assert await ask(at, "few", SLEEP) == "QUOTA"
            calls[0].cancel()
            await asyncio.wait(calls)
            assert calls[1].result() == "OK"
            for wrong in (
                call(at, "few", "isochrone.testing.v1.Toy/Nothing"),
                call(at, "few")._replace(variant="no.such"),
            ):
                with pytest.raises((UnknownRoute, UnknownVariant)):
                    await awaited(at.router.front.start, wrong)
            text = toy_pb2.ToyMessage(units=50).SerializeToString()
            chunks = streamed(at.router.front.start, call(at, "few", REPEAT, request=text), lambda _: None)
            await anext(chunks)
            assert _in_use(at) == 1
            await chunks.aclose()
            assert _in_use(at) == 0


def _in_use(at: LocalMesh) -> int:
    callers = at.router.callers
    assert callers is not None
    slots = callers.lessor.allowances["few"].slots
    assert slots is not None
    return slots.in_use


@virtual_time
async def test_the_legs_of_a_page_count_one_by_one() -> None:
    """As many as the quota lets through; of a page that nobody may ask for, none is begun."""
    async with mesh() as at:
        answered = await awaited(at.router.front.start, call(at, "slow", FAN_OUT, request=page(*[ECHO] * 6)))
        legs = router_pb2.FanOutResponse.FromString(answered.payload).legs
        assert [leg.outcome == router_pb2.LEG_OUTCOME_OK for leg in legs] == [True] * 4 + [False] * 2
        assert all(leg.budget.caller == "slow" for leg in legs)
        assert answered.budget.caller == "slow"
        for caller, tier, kind in (("nobody", "", Unauthenticated), ("shop", "batch", PermissionDenied)):
            with pytest.raises(kind) as caught:
                await awaited(
                    at.router.front.start, call(at, caller, FAN_OUT, tier=tier, request=page(ECHO, required=True))
                )
            assert isinstance(caught.value.budget, budget_pb2.BudgetReport)
        callers = at.router.callers
        assert callers is not None
        await asyncio.sleep(0)
        assert callers.stats.requests["slow", "standard", "RESOURCE_EXHAUSTED"] == 2
        stats = at.router.chronicle.stats
        assert stats[FAN_OUT].outcomes == {"OK": 1, "UNAUTHENTICATED": 1, "PERMISSION_DENIED": 1}
        assert stats[ECHO].requests == 6


@virtual_time
async def test_routers_settle_with_each_other() -> None:
    """What one admits another can't; in the long run both together admit the rate, whichever is asked."""
    async with mesh(routers=2) as at:
        admitted = 0
        for turn in range(500):
            admitted += await ask(at, "slow", router=turn % 2) == "OK"
            await asyncio.sleep(0.02)
        assert 0.8 * 100 <= admitted <= 4 + 1.1 * 100 + 4
        await asyncio.sleep(5)
        quotas = at.broker and at.broker.quotas()
        assert isinstance(quotas, MemoryQuotas)
        assert quotas._buckets["slow"].level == pytest.approx(0, abs=4)


@virtual_time
async def test_routers_keep_to_their_shares_while_the_quotas_are_away() -> None:
    """And share them again when they are back, without a word from anybody."""
    async with mesh(routers=2) as at:
        assert at.broker is not None
        assert await ask(at, "slow") == "OK"
        at.broker.lose()
        await asyncio.sleep(1)
        for _ in range(2):
            await ask(at, "slow")
            await asyncio.sleep(1)
        callers = [router.callers for router in at.routers]
        assert [one and one.lessor.is_alone for one in callers] == [True, False], "the other has had nothing to ask"
        admitted = 0
        for _ in range(500):
            admitted += await ask(at, "slow") == "OK"
            await asyncio.sleep(0.02)
        assert 0.8 * 50 <= admitted <= 50 + 5
        at.broker.restore()
        await asyncio.sleep(2)
        assert [one and one.lessor.is_alone for one in callers] == [False, False]


@virtual_time
async def test_a_router_that_leaves_gives_back_what_it_has_leased() -> None:
    """Its slots too."""
    quotas = MemoryQuotas(virtual_clock())
    lessor = Lessor(quotas, boot=1, routers=lambda: 1, clock=virtual_clock())
    lessor.use({"shop": Quota(1.0, 10, 5)})
    allowance = lessor.allowances["shop"]
    running = asyncio.create_task(lessor.run())
    for _ in range(4):
        assert lessor.take(allowance) is None
        await asyncio.sleep(0.05)
    assert allowance.tokens is not None
    assert (allowance.tokens.held, allowance.tokens.debt) == (1, 0)
    assert quotas._buckets["shop"].level == pytest.approx(5, abs=0.3)
    assert [holding.held for holding in quotas._slots["shop"].holdings.values()] == [5]
    await lessor.leave()
    assert quotas._buckets["shop"].level == pytest.approx(6, abs=0.3)
    assert not quotas._slots["shop"].holdings
    running.cancel()
    await asyncio.wait([running])


@virtual_time
async def test_callers_are_shown_with_their_quotas() -> None:
    """In the status and in metrics, under configured names alone."""
    async with mesh() as at:
        for _ in range(6):
            await ask(at, "slow")
        await ask(at, "nobody")
        status = {one["caller"]: one for one in at.router._status.as_json()["callers"]}
        assert status["slow"]["quotas"]["rate"]["limit"] == 10
        assert status["slow"]["refused"] == {"QUOTA": 2}
        assert status["shop"]["tiers"] == ["gold", "standard"]
        families = {family.instrument.name: dict(family.points) for family in readings.of_router(at.router._status)}
        assert families["isochrone.caller.refusals"] == {("slow", "QUOTA"): 2, ("other", "UNKNOWN_CALLER"): 1}
        assert families["isochrone.caller.quota_used"][("few", "concurrency")] == 0
        assert families["isochrone.caller.requests"][("slow", "standard", "OK")] == 4
        assert repr(at.router.callers) == "<Callers <Directory of shop, few, slow>, <Lessor of 3 callers>>"


@virtual_time
async def test_a_refusal_over_quota_says_when_to_come_back() -> None:
    """Then there is a token."""
    async with mesh() as at:
        for _ in range(4):
            assert await ask(at, "slow") == "OK"
        with pytest.raises(Overloaded) as caught:
            await awaited(at.router.front.start, call(at, "slow"))
        assert 0.05 <= caught.value.retry_after_s <= 0.2
        await asyncio.sleep(caught.value.retry_after_s + 0.02)
        assert await ask(at, "slow") == "OK"
