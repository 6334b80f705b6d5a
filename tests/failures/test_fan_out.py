"""Fan-outs: a page of several requests, whatever becomes of one of them."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from conftest import StartMesh
from harness import ONE_BY_ONE, RedisServer, goes_through_redis
from isochrone.client import Client, Leg, Outcome, Take
from isochrone.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable, UnknownRoute
from isochrone.testing.models import ECHO, SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone.v1 import router_pb2

pytestmark = pytest.mark.processes

FIELDS = toy_pb2.ToyMessage.DESCRIPTOR.fields_by_name
BODY, UNITS, TROUBLE = (FIELDS[name].number for name in ("body", "units", "trouble"))


def toy(body: bytes = b"", **fields: object) -> toy_pb2.ToyMessage:
    return toy_pb2.ToyMessage(body=body, **fields)  # type: ignore[arg-type]


def body_of(payload: bytes) -> bytes:
    return toy_pb2.ToyMessage.FromString(payload).body


async def test_a_page_has_every_legs_answer(mesh: StartMesh, redis: RedisServer) -> None:
    """By name, in the order asked, each with its own budget; over a call of its own and over a session."""
    running = await mesh(redis=redis, options={"sleep_ms": 20, "batch_jobs": 1})
    await running.until(goes_through_redis)
    for sessions in (0, 1):
        async with Client(running.router.address, sessions=sessions) as client:
            legs = {name: Leg(SLEEP, toy(name.encode())) for name in ("first", "second")}
            page = await client.fan_out(legs | {"third": Leg(ECHO, b"as it is")})
            assert list(page.legs) == ["first", "second", "third"]
            assert {leg.outcome for leg in page.legs.values()} == {Outcome.OK}
            assert body_of(page["first"].payload) == b"first"
            assert page["third"].payload == b"as it is"
            assert all(leg.budget is not None and leg.budget.node for leg in page.legs.values())
            assert page.budget is not None
            slowest = max(leg.budget.total_ms for leg in page.legs.values() if leg.budget is not None)
            assert slowest <= page.budget.total_ms
    await running.at_rest()


async def test_a_slow_leg_is_named_and_delays_no_other(mesh: StartMesh) -> None:
    """The page is there by its deadline, with what has arrived."""
    running = await mesh(nodes=2, options={"sleep_ms": 1, "unit_ms": 1, "max_units": 300})
    client = running.client()
    pages = 0
    for _ in range(40):
        try:  # that it comes, and no error in its place, shows that it was in time
            page = await client.fan_out(
                {"quick": Leg(ECHO, b"quick"), "slow": Leg(SLEEP, toy(b"slow", units=300))}, timeout_s=0.2
            )
        except DeadlineExceeded:
            continue  # a machine that stalls for longer than the margin
        pages += 1
        assert page["quick"].outcome is Outcome.OK
        assert page["slow"].outcome is Outcome.MISSED
        assert isinstance(page["slow"].error, (DeadlineExceeded, Overloaded)), page["slow"].error
        assert page["slow"].payload == b""
        if pages == 10:
            break
    assert pages == 10
    await running.at_rest()


async def test_a_fallback_stands_in_and_a_required_leg_fails_the_page(mesh: StartMesh) -> None:
    """With the reason, and at once: nobody waits for the rest of a page that can't be."""
    running = await mesh(nodes=1, options={"decode_ms": 1500})
    client = running.client()
    broken = Leg("isochrone.testing.v1.Toy/None", toy(b""), fallback=toy(b"in its place"))
    page = await client.fan_out({"broken": broken, "fine": Leg(ECHO, b"fine")})
    assert page["broken"].outcome is Outcome.FALLBACK
    assert body_of(page["broken"].payload) == b"in its place"
    assert isinstance(page["broken"].error, UnknownRoute)
    began_s = time.monotonic()
    with pytest.raises(UnknownRoute, match="leg 'needed'"):
        await client.fan_out({"slow": Leg(SLEEP, toy()), "needed": Leg("no.Such/Method", b"", required=True)})
    assert time.monotonic() - began_s < 1.5
    await running.at_rest()


async def test_a_leg_takes_a_field_of_anothers_answer(mesh: StartMesh) -> None:
    """As it is encoded; where there is nothing to take, it misses as well, or goes without."""
    running = await mesh(nodes=1)
    client = running.client()
    source = Leg(SLEEP, toy(b"from the first", units=3))
    page = await client.fan_out(
        {
            "second": Leg(SLEEP, toy(b"own"), takes=[Take("first", BODY, BODY), Take("first", UNITS, UNITS)]),
            "first": source,
            "nothing": Leg(SLEEP, toy(b"own"), takes=[Take("first", TROUBLE, BODY)]),
            "without": Leg(SLEEP, toy(b"own"), takes=[Take("first", TROUBLE, BODY, optional=True)]),
            "after": Leg(SLEEP, toy(b"own"), takes=[Take("nothing", BODY, BODY)]),
        }
    )
    second = toy_pb2.ToyMessage.FromString(page["second"].payload)
    assert (second.body, second.units) == (b"from the first", 3)
    assert page["nothing"].outcome is page["after"].outcome is Outcome.MISSED
    assert isinstance(page["nothing"].error, Unavailable)
    assert body_of(page["without"].payload) == b"own"


NONSENSE: list[tuple[dict[str, Leg], str]] = [
    ({}, "1 to 32"),
    ({str(n): Leg(ECHO, b"") for n in range(100)}, "1 to 32"),
    ({"a": Leg(ECHO, b"", takes=[Take("b", 1, 1)])}, "no leg 'b'"),
    ({"a": Leg(ECHO, b"", takes=[Take("a", 1, 1)])}, "wait for each other: a"),
    (
        {"a": Leg(ECHO, b"", takes=[Take("b", 1, 1)]), "b": Leg(ECHO, b"", takes=[Take("a", 1, 1)])},
        "wait for each other: a, b",
    ),
    ({"a": Leg(ECHO, b"", takes=[Take("b", 0, 1)]), "b": Leg(ECHO, b"")}, "field numbers"),
    ({"a": Leg("isochrone.v1.Recsys/Rank", toy())}, "takes a isochrone.v1.RankRequest"),
]


async def test_a_fan_out_that_makes_no_sense_is_refused(mesh: StartMesh) -> None:
    """Before anything of it runs, naming the field; streamed as well. So are two legs of one name, those of none, and
    bytes that are no fan-out."""
    running = await mesh(nodes=1)
    client = running.client()
    for legs, told in NONSENSE:
        with pytest.raises(InvalidRequest, match=told) as caught:
            await client.fan_out(legs)
        assert caught.value.violations
        with pytest.raises(InvalidRequest, match=told):
            await anext(client.fan_out_stream(legs))
    twice = router_pb2.FanOutRequest(legs=[router_pb2.Leg(name="a", route=ECHO)] * 2).SerializeToString()
    for request in (twice, router_pb2.FanOutRequest(legs=[router_pb2.Leg(route=ECHO)]).SerializeToString(), b"\xff"):
        with pytest.raises(InvalidRequest):
            await client.call("isochrone.v1.Router/FanOut", request)
    assert (await client.fan_out({"a": Leg(ECHO, b"still here")}))["a"].payload == b"still here"
    await running.at_rest()


async def test_a_caller_who_leaves_takes_all_legs_along(mesh: StartMesh) -> None:
    """Down to the nodes, those that were to wait for others too."""
    running = await mesh(nodes=1, options={"sleep_ms": 200} | ONE_BY_ONE)
    client = running.client()
    legs = {str(n): Leg(SLEEP, toy()) for n in range(8)} | {"last": Leg(SLEEP, toy(), takes=[Take("0", BODY, BODY)])}
    page = asyncio.create_task(client.fan_out(legs))
    await running.until(lambda status: status["router"]["inflight"] == 8)
    page.cancel()
    await running.until(lambda status: status["router"]["inflight"] == 0, within_s=2)
    await running.at_rest()


async def test_legs_come_as_they_end_where_they_are_streamed(mesh: StartMesh) -> None:
    """The quick one first, though it was asked last."""
    running = await mesh(nodes=1, options={"sleep_ms": 100} | ONE_BY_ONE)
    request = router_pb2.FanOutRequest(
        legs=[router_pb2.Leg(name="slow", route=SLEEP), router_pb2.Leg(name="quick", route="no.Such/Method")]
    )
    async with grpc.aio.insecure_channel(running.router.address) as channel:
        stream = channel.unary_stream("/isochrone.v1.Router/FanOutStream", None, router_pb2.LegResult.FromString)
        names = [result.name async for result in stream(request.SerializeToString(), timeout=5)]
        assert names == ["quick", "slow"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stream(b"", timeout=5):
                pass
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await running.at_rest()
