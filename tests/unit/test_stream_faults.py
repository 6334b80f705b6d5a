"""Streams when things go wrong on the way: late claims, full nodes, readers that pause, engines and links that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from isochrone.errors import ConfigError, DeadlineExceeded, InvalidRequest, IsochroneError
from isochrone.link.router_link import RouterLink
from isochrone.model import Part
from isochrone.starting import Ended, streamed
from isochrone.testing.mesh import LocalMesh, UnderWay
from isochrone.testing.models import ECHO, REPEAT, EchoModel, RepeatModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_time
from isochrone.v1 import link_pb2, router_pb2
from isochrone_router.front import FAN_OUT_STREAM

NOTHING = UnderWay(requests=0, in_lanes=0, on_nodes=0)
ROUTES = {REPEAT: {"objective_ms": 50, "deadline_ms": 100_000}, ECHO: {"objective_ms": 50, "deadline_ms": 100_000}}


def message(*, units: int, size: int = 1) -> bytes:
    return toy_pb2.ToyMessage(body=b"x" * size, units=units).SerializeToString()


def repeating(*, slots: int, variant: str = "repeat") -> RepeatModel:
    model = RepeatModel(step_ms=1, slots=slots)
    model.variant = variant
    return model


def a_mesh(*models: RepeatModel | EchoModel, nodes: int = 1, lanes: bool = True, hop_s: float = 0.0) -> LocalMesh:
    routes = {route: sla for route, sla in ROUTES.items() if any(route in model.routes for model in models)}
    return LocalMesh(models, routes=routes, nodes=nodes, lanes=lanes, hop_s=hop_s)


async def count(chunks: AsyncIterator[bytes]) -> int:
    return len([chunk async for chunk in chunks])


async def at_rest(mesh: LocalMesh) -> None:
    while mesh.under_way != NOTHING:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("affordable", [True, False])
@virtual_time
async def test_a_claim_that_comes_late(affordable: bool) -> None:
    """Its job was given up for lost. Whether or not it was sent to another node meanwhile, the caller has all of one
    copy, and the other leaves its place."""
    async with a_mesh(repeating(slots=4), nodes=2) as mesh:
        if not affordable:
            mesh.router.dispatcher._attempts._tokens = 0.0
        slow, other = mesh.nodes
        mesh.partition(slow)
        other._claimer.allow(())
        await asyncio.sleep(0)
        reading = asyncio.ensure_future(count(mesh.stream(REPEAT, message(units=20))))
        await asyncio.sleep(0.05)
        mesh.heal(slow)
        assert await reading == 20
        await at_rest(mesh)


@virtual_time
async def test_a_full_lane_holds_up_no_other() -> None:
    """A job staged behind a full model is no reason not to claim for the others of its node."""
    async with a_mesh(repeating(slots=1, variant="x"), repeating(slots=1, variant="y"), EchoModel()) as mesh:
        node, loop = mesh.nodes[0], asyncio.get_running_loop()
        long = mesh.stream(REPEAT, message(units=10_000), variant="x")
        await anext(long)
        first = asyncio.ensure_future(count(mesh.stream(REPEAT, message(units=100), variant="y")))
        await asyncio.sleep(0.01)
        own = streamed(node.own_api.start, mesh.make_call(REPEAT, message(units=5), None, "x"), lambda end: None)
        staged = asyncio.ensure_future(anext(own))
        await first
        await asyncio.sleep(0.05)
        began_s = loop.time()
        await asyncio.gather(
            count(mesh.stream(REPEAT, message(units=5), variant="y")), mesh.call(ECHO, b"hi"), return_exceptions=False
        )
        assert loop.time() - began_s < 0.1
        staged.cancel()
        await long.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [10, 40_000])
@virtual_time
async def test_what_there_is_no_room_for_stays_in_the_lane(size: int) -> None:
    """Also where its payload has to be fetched: another node may take it."""
    async with a_mesh(repeating(slots=1), hop_s=0.001) as mesh:
        readers = [asyncio.ensure_future(count(mesh.stream(REPEAT, message(units=20, size=size)))) for _ in range(12)]
        await asyncio.sleep(0.012)
        assert mesh.under_way.on_nodes <= 2
        assert mesh.under_way.in_lanes >= 10
        assert await asyncio.gather(*readers) == [20] * 12


@virtual_time
async def test_a_drain_does_not_wait_for_what_has_expired() -> None:
    """The last job behind a full model may end without ever having run."""
    async with a_mesh(repeating(slots=1), lanes=False) as mesh:
        node, loop = mesh.nodes[0], asyncio.get_running_loop()

        async def own(units: int, timeout_s: float) -> int | IsochroneError:
            call = mesh.make_call(REPEAT, message(units=units), timeout_s)
            try:
                return await count(streamed(node.own_api.start, call, lambda end: None))
            except IsochroneError as error:
                return error

        running = asyncio.ensure_future(own(500, 5.0))
        await asyncio.sleep(0.01)
        behind = asyncio.ensure_future(own(5, 0.2))
        await asyncio.sleep(0.01)
        began_s = loop.time()
        await mesh.drain_node(node, grace_s=30)
        assert loop.time() - began_s < 1
        assert await running == 500
        assert isinstance(await behind, DeadlineExceeded)


@virtual_time
async def test_a_reader_that_never_goes_on_loses_its_place_in_the_end() -> None:
    """At the deadline, its own or the one that a node gives."""
    async with a_mesh(repeating(slots=1)) as mesh:
        stream = streamed(mesh.nodes[0].own_api.start, mesh.make_call(REPEAT, message(units=500)), lambda end: None)
        await anext(stream)
        await asyncio.sleep(61)
        assert mesh.under_way.on_nodes == 0
        with pytest.raises(DeadlineExceeded, match="its reader"):
            await count(stream)


@virtual_time
async def test_a_readers_pauses_are_not_the_models() -> None:
    """What a node expects of the next one stays what it was; and one that runs alone says that it did."""
    async with a_mesh(repeating(slots=4)) as mesh:
        (served,) = mesh.nodes[0]._streams.values()
        before_s = served.latency.current.of(100)
        ends: list[Ended] = []
        for _ in range(10):
            stream = mesh.stream(REPEAT, message(units=100), ended=ends.append)
            await anext(stream)
            await asyncio.sleep(5)
            await count(stream)
        assert served.latency.current.of(100) == pytest.approx(before_s, rel=0.1)
        assert [end.budget.batch.jobs for end in ends] == [1] * 10


@virtual_time
async def test_waiting_for_a_place_is_no_reason_for_a_second_attempt() -> None:
    """Over links jobs are addressed to nodes that are full; these say how long that will take."""
    async with a_mesh(repeating(slots=2), nodes=2, lanes=False) as mesh:
        for _ in range(4):
            await count(mesh.stream(REPEAT, message(units=500)))
        before = mesh.router.dispatcher.second_attempts.made
        await asyncio.gather(*(count(mesh.stream(REPEAT, message(units=500))) for _ in range(24)))
        assert mesh.router.dispatcher.second_attempts.made == before


@virtual_time
async def test_a_router_that_comes_back_with_the_same_job() -> None:
    """It runs anew; the end of its former run, which was cancelled, is not its own."""
    async with a_mesh(repeating(slots=4), lanes=False) as mesh:
        node = mesh.nodes[0]
        (served,) = node._streams.values()

        def link() -> RouterLink:
            now_us = int(node._clock() * 1e6)
            hello = link_pb2.Hello(router=7, name="r", epoch=1, router_us=now_us)
            return RouterLink(hello, events=node, clock=node._clock)

        def job(*, credits: int, units: int) -> link_pb2.Job:
            return link_pb2.Job(
                version=1,
                router=7,
                id=1,
                attempt=1,
                route=REPEAT,
                lane=served.lane,
                credits=credits,
                payload=message(units=units),
                objective_us=int(1e6 * (node._clock() + 1)),
                deadline_us=int(1e6 * (node._clock() + 1000)),
            )

        former, anew = link(), link()
        node._intake.link_up(former)
        node._intake.from_link(former, [job(credits=1, units=100)])
        await asyncio.sleep(0.01)
        node._intake.link_up(anew)
        node._intake.from_link(anew, [job(credits=2, units=10)])
        await asyncio.sleep(0.05)
        assert len(served.running) == 1
        node.granted(anew, 1, 8)
        await asyncio.sleep(0.05)
        assert not served.running
        node._intake.link_down(anew)


class _Dying(RepeatModel):
    """Its device is lost when told so."""

    def __init__(self) -> None:
        super().__init__(step_ms=1)
        self.lost = asyncio.Event()

    async def watch(self) -> None:
        await self.lost.wait()
        raise RuntimeError("the device is lost")


@virtual_time
async def test_a_model_that_cannot_go_on_ends_its_node() -> None:
    """Rather than claim on and fail everything that comes."""
    model = _Dying()
    async with a_mesh(model) as mesh:
        waiting = asyncio.ensure_future(mesh.nodes[0].wait())
        await asyncio.sleep(1)
        assert not waiting.done()
        model.lost.set()
        with pytest.raises(RuntimeError, match="the device is lost"):
            await waiting


@virtual_time
async def test_a_fault_in_a_callback_costs_the_link_and_no_more() -> None:
    """It is dialled anew."""
    async with a_mesh(repeating(slots=1)) as mesh:

        def faulty(payload: bytes, taken: object) -> None:
            raise ValueError("a fault in a callback")

        ended: list[Ended] = []
        mesh.router.front.start(mesh.make_call(REPEAT, message(units=3)), ended.append, faulty)
        while not ended:
            await asyncio.sleep(0.01)
        await mesh.settled()
        assert await count(mesh.stream(REPEAT, message(units=3))) == 3


@virtual_time
async def test_a_page_with_a_stream_is_in_time_as_its_legs_are() -> None:
    """The objective of one that streams is for its first chunk."""
    async with a_mesh(repeating(slots=1)) as mesh:
        leg = router_pb2.Leg(name="text", route=REPEAT)
        leg.request.value = message(units=200)
        ends: list[Ended] = []
        request = router_pb2.FanOutRequest(legs=[leg]).SerializeToString()
        await count(mesh.stream(FAN_OUT_STREAM, request, ended=ends.append))
        assert ends[0].budget.total_us > ends[0].budget.objective_us
        assert not ends[0].budget.missed


class _Whole(EchoModel):
    """Says that it serves a route whose answers stream."""

    routes = (REPEAT,)


@virtual_time
async def test_a_model_of_batches_cannot_stream() -> None:
    """Said when the node starts, and not by empty answers."""
    mesh = LocalMesh([_Whole()], routes={REPEAT: ROUTES[REPEAT]})
    with pytest.raises(ConfigError, match="takes a StreamModel"):
        await mesh.__aenter__()


class _Mute(RepeatModel):
    """Has nothing to say."""

    async def run(self, item: toy_pb2.ToyMessage, *, name: str, deadline_s: float) -> AsyncIterator[Part]:
        if item.trouble:
            raise InvalidRequest.of("trouble", "not here")
        return
        yield


@virtual_time
async def test_a_stream_without_chunks() -> None:
    """Is over at once, well or not."""
    async with a_mesh(_Mute()) as mesh:
        assert await count(mesh.stream(REPEAT, message(units=1))) == 0
        with pytest.raises(InvalidRequest):
            await count(mesh.stream(REPEAT, toy_pb2.ToyMessage(trouble="x").SerializeToString()))
