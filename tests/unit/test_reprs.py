"""What live objects show in a log or a debugger: what an operator wants to know, and nobody's data."""

from __future__ import annotations

import asyncio

from fakes import LANE, FakeLink, a_job, flight, looping, staged
from isochrone.config import LimitsConfig
from isochrone.errors import Unavailable
from isochrone.latency import Latency, LatencyModel
from isochrone.link.clock import ClockOffset
from isochrone.link.node_link import NodeLink
from isochrone.link.router_link import RouterLink
from isochrone.node.link_caller import LinkCaller
from isochrone.node.staging import Staging
from isochrone.resp import RedisAddress, RespConnection
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import SLEEP, SleepModel
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import link_pb2
from isochrone_router.attempts import AttemptBudget
from isochrone_router.flight import Flights
from isochrone_router.margin import AnswerMargin


@virtual_time
async def test_a_flight_says_where_it_is() -> None:
    """And never what is in it."""
    one = flight(request=b"somebody's")
    start = f"<Flight {one.id} isochrone.testing.v1.Toy/Echo for toy@cpu"
    assert repr(one) == f"{start}, in its lane>"
    one.member = b""
    assert repr(one) == f"{start}, nowhere yet>"
    one.holders += [FakeLink("toy-0"), FakeLink("toy-1")]  # type: ignore[list-item]
    assert repr(one) == f"{start}, on toy-0, toy-1>"
    one.fail(Unavailable("gone"))
    assert repr(one) == f"{start}, over>"
    flights = Flights(LimitsConfig())
    flights.add(one)
    assert repr(flights) == "<Flights 1 under way, 10 bytes>"


def test_numbers_come_with_their_units() -> None:
    """Times in what they are usually counted in."""
    model = LatencyModel(Latency(0.002, 0.00025, 0.05))
    assert repr(model) == "<LatencyModel 2000 µs + 250.00 µs a unit, ± 5 %>"
    clock = ClockOffset()
    clock.observe(sent_s=1.0, received_s=1.0005, theirs_s=101.00025)
    assert repr(clock) == "<ClockOffset +100.000000 s ± 250 µs>"
    assert repr(AnswerMargin(0.0005)) == "<AnswerMargin 0.50 ms>"
    assert repr(AttemptBudget(0.05)) == "<AttemptBudget 256.0 of 256>"


def test_jobs_on_a_node_are_named_by_router_and_number() -> None:
    """With their weight, and without their request."""
    stage = Staging(asyncio.Event())
    stage.add(staged(7, b"somebody's:123"))
    assert repr(stage) == "<Staging 1 jobs, 3 units>"
    assert repr(stage.jobs) == "[<StagedJob 7 of 00000000000000a0, attempt 1, 3 units>]"


@virtual_time
async def test_links_say_whose_they_are() -> None:
    """By name, and in which state."""
    hello = link_pb2.Hello(router=0xA0, name="router-0", epoch=3)
    link = NodeLink("127.0.0.1:5000", hello=hello, events=None, clock=virtual_clock())  # type: ignore[arg-type]
    assert repr(link) == "<NodeLink ? at 127.0.0.1:5000 dialling>"
    other = RouterLink(hello, events=None, clock=virtual_clock())  # type: ignore[arg-type]
    assert repr(other) == "<RouterLink router-0 00000000000000a0 epoch 3>"
    assert repr(LinkCaller(other)) == f"<LinkCaller {other!r}>"


@virtual_time
async def test_a_nodes_parts_say_what_they_are_doing() -> None:
    """Busy for how long, claiming from where."""
    async with looping() as at:
        assert repr(at.loop) == "<NodeLoop free, <Claimer without lanes>>"
        await at.claimer.start()
        at.claimer.allow({LANE})
        assert repr(at.claimer) == "<Claimer waiting, may claim from toy@cpu>"
        at.intake.from_link(at.link, [a_job(1)])  # type: ignore[arg-type]
        await asyncio.sleep(0.004)
        assert repr(at.loop).startswith("<NodeLoop busy for 6.0 ms more, <Claimer ")
        served = at.served[LANE]
        assert repr(served).startswith("<BatchServed toy@cpu, 0 jobs in 0 batches, <LatencyModel 10000 µs + ")


@virtual_time
async def test_a_routers_parts_say_what_they_hold() -> None:
    """Requests, links, lanes, Redis."""
    model = SleepModel(sleep_ms=10, sleep=virtual_clock().advance)
    async with LocalMesh([model], routes={SLEEP: {"objective_ms": 50, "deadline_ms": 100}}) as mesh:
        router = mesh.router
        call = asyncio.create_task(mesh.call(SLEEP, b""))
        await asyncio.sleep(0.005)
        assert repr(router) == ("<Router router-0 at 127.0.0.1:50051, 1 requests under way, <LaneGate up, epoch 1>>")
        assert repr(router.links) == "<Links [<NodeLink node-0 at local:0 linked>], open lanes: sleep@cpu>"
        assert repr(router.dispatcher) == (
            "<Dispatcher <Flights 1 under way, 0 bytes>, <Suspects 0 watched>, 0 sent again>"
        )
        assert repr(mesh.broker) == "<MemoryBroker <MemoryLanes up, empty>>"
        await call


async def test_a_connection_says_whether_it_is_one(redis_address: RedisAddress) -> None:
    """And how much it is waiting for."""
    connection = await RespConnection.open(redis_address, timeout_s=5)
    assert repr(connection) == "<RespConnection open, 0 under way>"
    asked = connection.send(("PING",))
    assert repr(connection) == "<RespConnection open, 1 under way>"
    await asked
    connection.close()
    await connection.lost
    assert repr(connection) == "<RespConnection lost, 0 under way>"
