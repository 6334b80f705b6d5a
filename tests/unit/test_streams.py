"""Answers that stream, through a whole mesh in one process: chunks in order, credits, and every way to end."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from isochrone.errors import DeadlineExceeded, Internal, InvalidRequest, Unavailable
from isochrone.starting import Ended, streamed
from isochrone.testing.mesh import LocalMesh, UnderWay
from isochrone.testing.models import ECHO, REPEAT, EchoModel, RepeatModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_time
from isochrone.v1 import budget_pb2, router_pb2
from isochrone_router.dispatch import AHEAD
from isochrone_router.front import FAN_OUT, FAN_OUT_STREAM

NOTHING = UnderWay(requests=0, in_lanes=0, on_nodes=0)
ROUTES = {REPEAT: {"objective_ms": 50, "deadline_ms": 10_000}, ECHO: {"objective_ms": 50, "deadline_ms": 1000}}


def message(body: bytes = b"again", *, units: int, trouble: str = "") -> bytes:
    return toy_pb2.ToyMessage(body=body, units=units, trouble=trouble).SerializeToString()


class Repeat(RepeatModel):
    """Counts what it makes for callers, not to warm up."""

    def example(self, units: int) -> toy_pb2.ToyMessage:
        self.steps = -2
        return super().example(1)


def a_mesh(*, nodes: int = 1, slots: int = 4, lanes: bool = True) -> tuple[LocalMesh, Repeat]:
    model = Repeat(step_ms=1, slots=slots)
    return LocalMesh([model, EchoModel()], routes=ROUTES, nodes=nodes, lanes=lanes), model


async def at_rest(mesh: LocalMesh) -> None:
    while mesh.under_way != NOTHING:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("lanes", [True, False], ids=["lanes", "links"])
@virtual_time
async def test_chunks_come_as_they_are_made(lanes: bool) -> None:
    """All of them, in their order, and then how it went: the objective is for the first."""
    mesh, _ = a_mesh(lanes=lanes)
    ends: list[Ended] = []
    async with mesh:
        chunks = [chunk async for chunk in mesh.stream(REPEAT, message(units=100), ended=ends.append)]
        assert [toy_pb2.ToyMessage.FromString(chunk).body for chunk in chunks] == [b"again"] * 100
        await at_rest(mesh)
    (end,) = ends
    budget: budget_pb2.BudgetReport = end.budget
    assert (end.payload, end.error) == (b"", None)
    assert budget.chunks == budget.units == 100
    assert 1_000 <= budget.first_us <= 3_000
    assert budget.total_us >= 100_000
    assert not budget.missed
    assert budget.batch.closed_by == "stream"


@virtual_time
async def test_a_reader_that_stops_holds_up_its_own_stream_alone() -> None:
    """The node makes no more than the credits allow; others go on, and so does this one when it reads again."""
    mesh, model = a_mesh()
    async with mesh:
        stopped = mesh.stream(REPEAT, message(units=500))
        first = await anext(stopped)
        await asyncio.sleep(2)
        assert model.steps <= AHEAD + 2, "the one that waits for credit is made already"
        assert len([chunk async for chunk in mesh.stream(REPEAT, message(units=200))]) == 200
        rest = [chunk async for chunk in stopped]
        assert len([first, *rest]) == 500
        await at_rest(mesh)


@virtual_time
async def test_a_caller_who_leaves_ends_it_on_the_node() -> None:
    """At the next step, and the place is free for another."""
    mesh, model = a_mesh(slots=1)
    async with mesh:
        stream = mesh.stream(REPEAT, message(units=100_000))
        async with aclosing(stream):  # type: ignore[type-var]
            for _ in range(3):
                await anext(stream)
        assert len([chunk async for chunk in mesh.stream(REPEAT, message(units=5))]) == 5
        assert model.steps < 20
        await at_rest(mesh)


@virtual_time
async def test_as_many_as_there_is_room_for_run_side_by_side() -> None:
    """Jobs beyond that stay in the lane, where another node may claim them."""
    mesh, _ = a_mesh(slots=3)
    async with mesh:
        read = [0] * 5

        async def reader(place: int) -> None:
            async for _ in mesh.stream(REPEAT, message(units=50)):
                read[place] += 1

        reading = asyncio.gather(*(reader(place) for place in range(5)))
        await asyncio.sleep(0.02)
        assert sum(count > 0 for count in read) == 3
        assert mesh.under_way.in_lanes == 2
        await reading
        assert read == [50] * 5
        await at_rest(mesh)


@virtual_time
async def test_a_fault_in_the_middle_ends_that_stream() -> None:
    """What was sent was sent; the error comes in place of the rest, and beside it others are unharmed."""
    mesh, _ = a_mesh()
    async with mesh:
        beside = asyncio.ensure_future(anext(mesh.stream(REPEAT, message(units=1))))
        stream = mesh.stream(REPEAT, message(units=10, trouble="raise"))
        chunks = [await anext(stream) for _ in range(9)]
        with pytest.raises(Internal) as caught:
            await anext(stream)
        assert len(chunks) == 9
        assert caught.value.budget.chunks == 9
        await beside
        await at_rest(mesh)


@virtual_time
async def test_a_deadline_in_the_middle() -> None:
    """The model was told when to end; one that goes on is cut off by the router, in time."""
    mesh, model = a_mesh()
    async with mesh:
        with pytest.raises(DeadlineExceeded):
            async for _ in mesh.stream(REPEAT, message(units=100_000), timeout_s=0.1):
                pass
        await at_rest(mesh)
        assert model.steps <= 105


@pytest.mark.parametrize("begun", [True, False])
@virtual_time
async def test_its_node_dies(begun: bool) -> None:
    """In the middle of an answer that can't be made good here, and the caller hears how far it came. Before the first
    chunk another node takes over."""
    mesh, _ = a_mesh(nodes=2)
    async with mesh:
        stream = mesh.stream(REPEAT, message(units=100 if begun else 10))
        task = asyncio.ensure_future(anext(stream))
        if begun:
            await task
        while not any(node.node_state().backlog_jobs for node in mesh.nodes):
            await asyncio.sleep(0)
        (busy,) = [node for node in mesh.nodes if node.node_state().backlog_jobs]
        await mesh.kill_node(busy)
        if begun:
            with pytest.raises(Unavailable, match=r"after \d+ chunks") as caught:
                async for _ in stream:
                    pass
            assert caught.value.reason == "STREAM_BROKEN"
        else:
            await task
            assert len([chunk async for chunk in stream]) == 9
        await at_rest(mesh)


@virtual_time
async def test_a_node_drains_with_a_stream_on_it() -> None:
    """It goes on to its end."""
    mesh, _ = a_mesh(nodes=2)
    async with mesh:
        stream = mesh.stream(REPEAT, message(units=300))
        await anext(stream)
        (busy,) = [node for node in mesh.nodes if node.node_state().backlog_jobs]
        draining = asyncio.ensure_future(mesh.drain_node(busy))
        assert len([chunk async for chunk in stream]) == 299
        await draining


@virtual_time
async def test_asked_the_wrong_way() -> None:
    """A stream can't come as one answer, nor one answer as a stream."""
    mesh, _ = a_mesh()
    async with mesh:
        with pytest.raises(InvalidRequest, match="streams"):
            await mesh.call(REPEAT, message(units=2))
        with pytest.raises(InvalidRequest, match="doesn't stream"):
            await anext(mesh.stream(ECHO, b""))


def leg(name: str, route: str, request: bytes, **more: object) -> router_pb2.Leg:
    made = router_pb2.Leg(name=name, route=route, **more)  # type: ignore[arg-type]
    made.request.value = request
    return made


@virtual_time
async def test_a_leg_of_a_fan_out_streams() -> None:
    """Its chunks come between the ends of others, and its own end last."""
    mesh, _ = a_mesh()
    async with mesh:
        legs = [leg("text", REPEAT, message(b"word", units=40)), leg("echo", ECHO, b"hello")]
        request = router_pb2.FanOutRequest(legs=legs).SerializeToString()
        results = [router_pb2.LegResult.FromString(chunk) async for chunk in mesh.stream(FAN_OUT_STREAM, request)]
        text = [result for result in results if result.name == "text"]
        assert [result.outcome for result in text] == [router_pb2.LEG_OUTCOME_CHUNK] * 40 + [router_pb2.LEG_OUTCOME_OK]
        assert text[0].answer.type_url.endswith("isochrone.testing.v1.ToyMessage")
        assert toy_pb2.ToyMessage.FromString(text[0].answer.value).body == b"word"
        assert text[-1].budget.chunks == 40
        (echo,) = [result for result in results if result.name == "echo"]
        assert echo.answer.value == b"hello"
        assert results.index(echo) < len(results) - 1
        with pytest.raises(InvalidRequest, match="FanOutStream takes it"):
            await mesh.call(FAN_OUT, request)
        await at_rest(mesh)


@virtual_time
async def test_a_reader_of_a_fan_out_that_stops() -> None:
    """Its streaming leg is held up as any stream is."""
    mesh, model = a_mesh()
    async with mesh:
        request = router_pb2.FanOutRequest(legs=[leg("text", REPEAT, message(units=500))]).SerializeToString()
        stream = mesh.stream(FAN_OUT_STREAM, request)
        await anext(stream)
        await asyncio.sleep(1)
        assert model.steps <= AHEAD + 2
        assert len([chunk async for chunk in stream]) == 500
        await at_rest(mesh)


@virtual_time
async def test_a_nodes_own_api_streams_as_a_routers() -> None:
    """The same Start, the same chunks."""
    mesh, model = a_mesh()
    async with mesh:
        ends: list[Ended] = []
        api = mesh.nodes[0].own_api
        stream = streamed(api.start, mesh.make_call(REPEAT, message(units=200)), ends.append)
        await anext(stream)
        await asyncio.sleep(1)
        assert model.steps <= AHEAD + 2
        assert len([chunk async for chunk in stream]) == 199
        assert ends[0].budget.chunks == 200
