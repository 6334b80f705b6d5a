"""Fallbacks: what a route's requests get where it fails. Over a mesh in memory, on a clock that jumps."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from opentelemetry.proto.trace.v1 import trace_pb2

from falling_back import LAST_GOOD, OTHER, POPULAR, SLA, STATIC, Sleep, SlowStore, Told, lose_nodes, mesh, toy
from isochrone.errors import Internal, InvalidRequest, IsochroneError, Overloaded, Unavailable
from isochrone.starting import Ended
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, REPEAT, SLEEP, EchoModel, SleepModel
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import router_pb2
from isochrone_router.front import FAN_OUT
from isochrone_router.request_spans import RequestSpans
from isochrone_router.traces import Traces

# What stands in.


@virtual_time
async def test_the_last_good_answer_stands_in_with_its_age() -> None:
    """For the same request, marked as what it is; the router counts it as answered, and as no promise kept."""
    async with mesh(LAST_GOOD) as at:
        told = Told(at)
        own = await at.call(SLEEP, toy(b"mine"))
        assert own.budget is not None
        assert own.budget.fallback is None
        await lose_nodes(at)
        await asyncio.sleep(12)
        answer = await at.call(SLEEP, toy(b"mine"))
        assert answer.payload == own.payload
        assert answer.budget is not None
        assert answer.budget.fallback is not None
        fallback = answer.budget.fallback
        assert (fallback.source, fallback.route, fallback.reason) == ("last_good", "", "NO_NODE")
        assert fallback.age_s == pytest.approx(12, abs=0.1)
        assert answer.budget.objective_ms == 15
        assert (told.last.code, told.last.verdict, told.last.reason) == ("OK", "fallback", "NO_NODE")
        assert told.last.is_miss
        assert not told.last.is_in_order
        stats = at.router.chronicle.stats[SLEEP]
        assert (stats.requests, stats.outcomes["OK"], stats.met) == (2, 2, 1)
        assert stats.fallbacks == {("last_good", "NO_NODE"): 1}
        assert stats.refusals == {"NO_NODE": 1}


@virtual_time
async def test_nobody_gets_what_was_made_for_another_request() -> None:
    """A byte more, another variant: another answer, so none."""
    async with mesh(LAST_GOOD) as at:
        await at.call(SLEEP, toy(b"mine"))
        await lose_nodes(at)
        with pytest.raises(Unavailable):
            await at.call(SLEEP, toy(b"yours"))
        with pytest.raises(IsochroneError):
            await at.call(SLEEP, toy(b"mine"), variant="sleep")
        assert (await at.call(SLEEP, toy(b"mine"))).payload == toy(b"mine")


@virtual_time
async def test_an_answer_that_is_too_old_is_none() -> None:
    """By the route's own `ttl_s`."""
    async with mesh({"last_good": {"ttl_s": 10}}) as at:
        await at.call(SLEEP, toy(b"mine"))
        await lose_nodes(at)
        await asyncio.sleep(9)
        await at.call(SLEEP, toy(b"mine"))
        await asyncio.sleep(2)
        with pytest.raises(Unavailable):
            await at.call(SLEEP, toy(b"mine"))


@virtual_time
async def test_a_static_answer_is_for_everybody() -> None:
    """As the configuration has it, at once."""
    async with mesh(LAST_GOOD, STATIC) as at:
        await lose_nodes(at)
        answer = await at.call(SLEEP, toy(b"whoever"))
        assert answer.payload == POPULAR
        assert answer.budget is not None
        assert answer.budget.fallback is not None
        assert (answer.budget.fallback.source, answer.budget.fallback.age_s) == ("static", 0)
        assert answer.budget.total_ms < 1


@virtual_time
async def test_another_route_stands_in_and_is_told_of_as_a_part() -> None:
    """It gets the request as it is, in the time that was kept for it; both are counted on their own routes."""
    sleep = Sleep()
    async with mesh(OTHER, sleep=sleep) as at:
        told = Told(at)
        await at.add_node([EchoModel()])
        await at.settled()
        sleep.stuck_s = 0.3
        answer = await at.call(SLEEP, toy(b"slow today"))
        assert answer.payload == toy(b"slow today")
        assert answer.budget is not None
        assert answer.budget.fallback is not None
        assert (answer.budget.fallback.source, answer.budget.fallback.route) == ("route", ECHO)
        assert answer.budget.fallback.reason == "DEADLINE_EXCEEDED"
        assert answer.budget.deadline_ms == 100
        assert 80 < answer.budget.total_ms < 100
        assert answer.budget.missed
        assert sum(answer.budget.stages.values()) == pytest.approx(answer.budget.total_ms, abs=0.001)
        [leg] = told.last.legs
        assert (leg.route, leg.leg, leg.verdict) == (ECHO, "fallback", "met")
        assert leg.place.span.trace_id == told.last.place.span.trace_id
        assert leg.place.parent_id == told.last.place.span.span_id
        assert at.router.chronicle.stats[ECHO].met == 1
        await asyncio.sleep(1)
        assert at.under_way.requests == 0


@virtual_time
async def test_another_routes_own_fallback_counts_as_what_it_is() -> None:
    """Not as an answer that was made."""
    async with mesh(OTHER, **{ECHO: SLA | {"fallback": [STATIC]}}) as at:
        await lose_nodes(at)
        answer = await at.call(SLEEP, toy(b"mine"))
        assert answer.payload == POPULAR
        assert answer.budget is not None
        assert answer.budget.fallback is not None
        assert (answer.budget.fallback.source, answer.budget.fallback.route) == ("static", ECHO)


@virtual_time
async def test_ways_are_tried_in_their_order() -> None:
    """Where none leads anywhere, the request fails with what it had failed with."""
    async with mesh(LAST_GOOD, OTHER, store=SlowStore()) as at:
        told = Told(at)
        assert (await at.call(SLEEP, toy(b"known"))).payload == toy(b"known")
        await lose_nodes(at)
        answer = await at.call(SLEEP, toy(b"known"))
        assert answer.budget is not None
        assert answer.budget.fallback is not None
        assert answer.budget.fallback.source == "last_good"
        with pytest.raises(Unavailable) as caught:
            await at.call(SLEEP, toy(b"unknown"))
        assert caught.value.budget.total_ms > 0.4  # that it took to look
        assert caught.value.budget.fallback is None
        assert told.last.verdict == "failed"
        assert [leg.code for leg in told.last.legs] == ["UNAVAILABLE"]


# What it stands in for.


@virtual_time
async def test_a_wrong_request_gets_no_other_answer() -> None:
    """It is to be mended."""
    async with mesh(STATIC) as at:
        with pytest.raises(InvalidRequest):
            await at.call(SLEEP, b"\xff\xff")


@virtual_time
async def test_a_model_that_raises_is_stood_in_for_unless_told_otherwise() -> None:
    """`when` says what for."""
    async with mesh(STATIC) as at:
        answer = await at.call(SLEEP, toy(b"", trouble="raise"))
        assert answer.payload == POPULAR
    async with mesh(STATIC | {"when": ["UNAVAILABLE", "QUEUE_FULL"]}) as at:
        with pytest.raises(Internal):
            await at.call(SLEEP, toy(b"", trouble="raise"))


@virtual_time
async def test_a_router_that_is_full_still_answers() -> None:
    """A refusal on arrival is stood in for as well."""
    sleeper = SleepModel(sleep_ms=20, batch_jobs=1, sleep=virtual_clock().advance)
    routes = {SLEEP: SLA | {"fallback": [STATIC]}}
    async with LocalMesh([sleeper], routes=routes, router={"limits": {"inflight": 1}}) as at:
        first, second = await asyncio.gather(at.call(SLEEP, toy(b"one")), at.call(SLEEP, toy(b"two")))
        assert (first.payload, second.payload) == (toy(b"one"), POPULAR)
        assert second.budget is not None
        assert second.budget.fallback is not None
        assert second.budget.fallback.reason == "INFLIGHT_FULL"
    routes = {SLEEP: SLA | {"fallback": [STATIC | {"when": ["DEADLINE_EXCEEDED"]}]}}
    async with LocalMesh([sleeper], routes=routes, router={"limits": {"inflight": 1}}) as at:
        outcomes = await asyncio.gather(
            at.call(SLEEP, toy(b"one")), at.call(SLEEP, toy(b"two")), return_exceptions=True
        )
        assert isinstance(outcomes[1], Overloaded)


# Streams.


@virtual_time
async def test_a_stream_may_be_static_before_its_first_chunk() -> None:
    """Chunk by chunk."""
    chunks = {"static": {"message": [{"body": "b25l"}, {"body": "dHdv"}]}}
    async with mesh(**{REPEAT: SLA | {"fallback": [chunks]}}) as at:
        await lose_nodes(at)
        ends: list[Ended] = []
        came = [chunk async for chunk in at.stream(REPEAT, toy(b"mine", units=3), ended=ends.append)]
        assert came == [toy(b"one"), toy(b"two")]
        [end] = ends
        assert (end.budget.chunks, end.budget.fallback.source) == (2, "static")


@virtual_time
async def test_a_stream_that_has_begun_gets_no_other_end() -> None:
    """What has come of it is not to be followed by something else."""
    async with mesh(**{REPEAT: SLA | {"fallback": [{"static": {"message": {"body": "b25l"}}}]}}) as at:
        stream = at.stream(REPEAT, toy(b"mine", units=3, trouble="raise"))
        assert [await anext(stream), await anext(stream)] == [toy(b"mine")] * 2
        with pytest.raises(Internal):
            await anext(stream)


# Fan-outs.


async def page_of(at: LocalMesh, *legs: router_pb2.Leg) -> router_pb2.FanOutResponse:
    answer = await at.call(FAN_OUT, router_pb2.FanOutRequest(legs=legs).SerializeToString())
    return router_pb2.FanOutResponse.FromString(answer.payload)


def leg(name: str, route: str, body: bytes, **more: Any) -> router_pb2.Leg:
    made = router_pb2.Leg(name=name, route=route, **more)
    made.request.value = toy(body)
    return made


@virtual_time
async def test_a_required_leg_that_was_stood_in_for_is_there() -> None:
    """Marked, with its answer, and others take from that; the leg's own fallback comes after its route's."""
    async with mesh(STATIC) as at:
        told = Told(at)
        await lose_nodes(at)
        own = leg("optional", ECHO, b"")
        own.fallback.value = toy(b"the leg's own")
        takes = leg("taker", SLEEP, b"", takes=[router_pb2.Take(leg="needed", field=1, into=1)])
        page = await page_of(at, leg("needed", SLEEP, b"", required=True), own, takes)
        needed, optional, taker = page.legs
        fallback = router_pb2.LEG_OUTCOME_FALLBACK
        assert [each.outcome for each in page.legs] == [fallback] * 3
        assert needed.answer.value == taker.answer.value == POPULAR
        assert needed.budget.fallback.source == "static"
        assert not needed.status
        assert optional.answer.value == toy(b"the leg's own")
        assert not optional.budget.HasField("fallback")
        assert optional.status
        await asyncio.sleep(0)
        assert told.last.route == FAN_OUT
        assert sorted(each.verdict for each in told.last.legs) == ["failed", "fallback", "fallback"]


@virtual_time
async def test_a_required_leg_without_any_fails_the_page_and_an_optional_one_never_does() -> None:
    """However it fails."""
    async with mesh(LAST_GOOD, store=SlowStore()) as at:
        await lose_nodes(at)
        page = await page_of(at, leg("optional", SLEEP, b""), leg("another", ECHO, b""))
        assert {each.outcome for each in page.legs} == {router_pb2.LEG_OUTCOME_MISSED}
        with pytest.raises(Unavailable) as caught:
            await page_of(at, leg("needed", SLEEP, b"", required=True), leg("another", ECHO, b""))
        assert caught.value.message.startswith("leg 'needed'")


@virtual_time
async def test_a_route_without_fallbacks_is_left_alone() -> None:
    """Its failures are its own."""
    async with mesh(STATIC) as at:
        await lose_nodes(at)
        with pytest.raises(Unavailable):
            await at.call(ECHO, b"")
        assert (
            repr(at.router.fallbacks) == f"<Fallbacks for {SLEEP}, <AnswerCache 0 answers, 0 bytes, in memory alone>>"
        )


@virtual_time
async def test_a_trace_says_what_stood_in() -> None:
    """On the request's own span; what wasn't sampled is traced all the same, like a miss."""
    async with mesh(LAST_GOOD) as at:
        told = Told(at)
        await at.call(SLEEP, toy(b"mine"))
        await lose_nodes(at)
        await asyncio.sleep(5)
        await at.call(SLEEP, toy(b"mine"))
        made: list[bytes] = []
        traces = Traces(RequestSpans({}), export=lambda owner, span: made.append(span), misses_per_s=20, clock=at.clock)
        for past in told.pasts:
            traces(past)
        traces.flush()
        spans = [trace_pb2.Span.FromString(span) for span in made]
        [root] = [span for span in spans if span.name == SLEEP]
        attributes = {each.key: each.value for each in root.attributes}
        assert attributes["isochrone.verdict"].string_value == "fallback"
        assert attributes["isochrone.fallback.source"].string_value == "last_good"
        assert attributes["isochrone.fallback.reason"].string_value == "NO_NODE"
        assert attributes["isochrone.fallback.age_ms"].int_value == pytest.approx(5000, abs=50)
        assert "isochrone.fallback.route" not in attributes
