"""Fallbacks: what a route's requests get where it fails. Over a mesh in memory, on a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1 import trace_pb2

from isochrone.answers import Kept, digest_of
from isochrone.config import RouteConfig
from isochrone.credentials import ANONYMOUS
from isochrone.errors import DeadlineExceeded, Internal, InvalidRequest, IsochroneError, Overloaded, Unavailable
from isochrone.starting import Ended
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, REPEAT, SLEEP, EchoModel, RepeatModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import router_pb2
from isochrone_router.front import FAN_OUT
from isochrone_router.past import Past
from isochrone_router.request_spans import RequestSpans
from isochrone_router.standby import LOOK_RESERVE_S, standby_of
from isochrone_router.traces import Traces

MARGIN_S = 0.0005
SLA = {"objective_ms": 15, "deadline_ms": 100}
LAST_GOOD: dict[str, Any] = {"last_good": {"ttl_s": 300}}
STATIC: dict[str, Any] = {"static": {"message": {"body": "cG9wdWxhcg=="}}}
POPULAR = toy_pb2.ToyMessage(body=b"popular").SerializeToString()
OTHER: dict[str, Any] = {"route": ECHO}


def toy(body: bytes, **fields: Any) -> bytes:
    return toy_pb2.ToyMessage(body=body, **fields).SerializeToString()


class SlowStore:
    """AnswerStore in memory. Each look takes `look_s`; an age is told by how long a put was ago."""

    def __init__(self) -> None:
        self.look_s = 0.0005
        self.looks = self.puts = self.left = 0
        self._kept: dict[bytes, tuple[bytes, float]] = {}

    async def get(self, digest: bytes) -> Kept | None:
        self.looks += 1
        try:
            await asyncio.sleep(self.look_s)
        except asyncio.CancelledError:
            self.left += 1
            raise
        found = self._kept.get(digest)
        return None if found is None else Kept(found[0], asyncio.get_running_loop().time() - found[1])

    def put(self, digest: bytes, payload: bytes, *, ttl_s: float) -> None:
        self.puts += 1
        self._kept[digest] = (payload, asyncio.get_running_loop().time())

    async def run(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None: ...


class Told:
    """Listens to what is told of requests."""

    def __init__(self, mesh: LocalMesh) -> None:
        self.pasts: list[Past] = []
        mesh.router.chronicle._listeners = (*mesh.router.chronicle._listeners, self.pasts.append)

    @property
    def last(self) -> Past:
        return self.pasts[-1]


class Sleep:
    """What a toy sleeps by: `stuck_s` longer than anybody foresees."""

    def __init__(self) -> None:
        self.stuck_s = 0.0
        self._clock = virtual_clock()

    def __call__(self, seconds: float) -> None:
        self._clock.advance(seconds + self.stuck_s)


def mesh(
    *fallback: Mapping[str, Any],
    sleep: Sleep | None = None,
    store: SlowStore | None = None,
    routers: int = 1,
    **more: Any,
) -> LocalMesh:
    """Sleep falls back as it is told to, the others don't unless `more` says so."""
    sleeper = SleepModel(sleep_ms=5, batch_jobs=1, sleep=sleep or Sleep())
    routes = {ECHO: SLA, REPEAT: SLA, SLEEP: SLA | {"fallback": list(fallback)}} | more
    models = [EchoModel(), sleeper, RepeatModel()]
    return LocalMesh(models, routes=routes, answers=store, routers=routers)


async def lose_nodes(at: LocalMesh) -> None:
    for node in list(at.nodes):
        await at.kill_node(node)
    await asyncio.sleep(0.01)


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
async def test_a_deadline_that_had_passed_on_arrival() -> None:
    """Is no reason to say nothing, where there is an answer at hand."""
    async with mesh(STATIC) as at:
        assert (await at.call(SLEEP, toy(b""), timeout_s=0.0)).payload == POPULAR
    async with mesh(LAST_GOOD, store=SlowStore()) as at:
        with pytest.raises(DeadlineExceeded):
            await at.call(SLEEP, toy(b""), timeout_s=0.0)


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


def key_of(at: LocalMesh, request: bytes) -> bytes:
    return digest_of(SLEEP, variant="", caller=ANONYMOUS, request=request)
