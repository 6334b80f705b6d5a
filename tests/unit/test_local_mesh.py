"""LocalMesh, from a first test of one's own model (shout.py) on: a whole mesh, in one process, in no time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from isochrone.errors import DeadlineExceeded, Internal, InvalidRequest, Overloaded, UnknownVariant
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, SLEEP, EchoModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from shout import NOTHING, ROUTE, ROUTES, Shout


@virtual_time
async def test_a_mesh_answers() -> None:
    """A model and a route are all it takes."""
    async with LocalMesh([Shout()], routes=ROUTES) as mesh:
        answer = await mesh.call(ROUTE, b"hello")
        assert answer.payload == b"HELLO"


@virtual_time
async def test_an_answer_says_where_its_time_went() -> None:
    """A model that is given the clock says how long it takes; nothing else takes any time here."""
    async with LocalMesh([Shout(virtual_clock())], routes=ROUTES) as mesh:
        answer = await mesh.call(ROUTE, b"hello")
        budget = answer.budget
        assert budget is not None
        assert budget.stages["compute"] == pytest.approx(7.0, abs=0.01)
        assert budget.total_ms == pytest.approx(7.0, abs=0.01)
        assert (budget.lane, budget.node, budget.attempts, budget.missed) == ("shout@cpu", "node-0", 1, False)


@virtual_time
async def test_a_way_over_a_link_takes_as_long_as_it_is_told_to() -> None:
    """Each hop of it."""
    async with LocalMesh([Shout(virtual_clock())], routes=ROUTES, hop_s=0.001) as mesh:
        answer = await mesh.call(ROUTE, b"hello")
        assert answer.budget is not None
        assert answer.budget.stages["link"] == pytest.approx(1.0, abs=0.05)


@virtual_time
async def test_requests_share_batches() -> None:
    """Those that come while the device is busy run together next."""
    model = Shout(virtual_clock())
    async with LocalMesh([model], routes=ROUTES) as mesh:
        model.batches.clear()
        first = asyncio.create_task(mesh.call(ROUTE, b"one"))
        await asyncio.sleep(0.001)
        answers = await asyncio.gather(first, *(mesh.call(ROUTE, text) for text in (b"two", b"three", b"four")))
        assert model.batches == [["one"], ["two", "three", "four"]]
        assert answers[3].payload == b"FOUR"
        assert answers[3].budget is not None
        assert (answers[3].budget.batch_jobs, answers[3].budget.batch_units) == (3, 12)


@virtual_time
async def test_a_wrong_request_is_refused_and_its_mates_are_not() -> None:
    """By the model's own words."""
    async with LocalMesh([Shout()], routes=ROUTES) as mesh:
        good, bad = await asyncio.gather(
            mesh.call(ROUTE, b"fine"), mesh.call(ROUTE, "öäü".encode()), return_exceptions=True
        )
        assert not isinstance(good, BaseException)
        assert isinstance(bad, InvalidRequest)
        assert [violation.field for violation in bad.violations] == ["text"]


@virtual_time
async def test_a_request_that_breaks_the_model_fails_alone() -> None:
    """The batch is split until the culprit stands by itself; its text stays in the log."""
    model = Shout(virtual_clock())
    async with LocalMesh([model], routes=ROUTES) as mesh:
        texts = [b"a", b"b", b"boom", b"c"]
        results = await asyncio.gather(*(mesh.call(ROUTE, text) for text in texts), return_exceptions=True)
        assert isinstance(results.pop(2), Internal)
        assert [result.payload for result in results if not isinstance(result, BaseException)] == [b"A", b"B", b"C"]


@virtual_time
async def test_a_deadline_of_ten_seconds_takes_no_time_to_test() -> None:
    """The caller is told a margin before its deadline, not after, with a budget that says where the time went."""
    clock, real_s = virtual_clock(), time.monotonic()
    model = Shout(clock)
    async with LocalMesh([model], routes={ROUTE: {"objective_ms": 50, "deadline_ms": 60_000}}) as mesh:
        model.stuck_s = 30.0
        asked_s = clock()
        with pytest.raises(DeadlineExceeded) as caught:
            await mesh.call(ROUTE, b"hello", timeout_s=10)
        assert clock() - asked_s == pytest.approx(10 - 0.0005, abs=0.0001)
        assert caught.value.budget.total_ms == pytest.approx(9999.5, abs=0.1)
        assert caught.value.budget.missed
    assert time.monotonic() - real_s < 5


@virtual_time
async def test_no_work_is_done_for_the_dead() -> None:
    """Who can't be answered in time is told so at once, and never run."""
    model = Shout(virtual_clock())
    async with LocalMesh([model], routes=ROUTES) as mesh:
        model.batches.clear()
        busy = asyncio.create_task(mesh.call(ROUTE, b"x" * 60))
        await asyncio.sleep(0.001)
        late = [asyncio.create_task(mesh.call(ROUTE, b"late", timeout_s=0.030)) for _ in range(5)]
        await asyncio.wait(late)
        assert {getattr(task.exception(), "reason", "") for task in late} == {"OVERLOAD"}
        await busy
        assert [text for batch in model.batches for text in batch] == ["x" * 60]
        assert mesh.under_way == NOTHING


@virtual_time
async def test_callers_may_leave_at_any_moment() -> None:
    """Whoever stays is answered, and of the others nothing is left behind in router, lanes or nodes."""
    async with LocalMesh([Shout(virtual_clock())], routes=ROUTES, nodes=2, hop_s=0.0002) as mesh:
        stay: list[asyncio.Task[object]] = []
        for number in range(400):
            task = asyncio.create_task(mesh.call(ROUTE, b"text"))
            if number % 2:
                asyncio.get_running_loop().call_later(0.0001 * (number % 97), task.cancel)
            else:
                stay.append(task)
            await asyncio.sleep(0.002)
        await asyncio.wait(stay)
        assert [task for task in stay if task.exception() is not None] == []
        await asyncio.sleep(0.1)
        assert mesh.under_way == NOTHING


@virtual_time
async def test_a_full_lane_refuses_and_has_room_again() -> None:
    """With when to come back; what was taken in is answered, and later requests are again."""
    clock = virtual_clock()
    model = SleepModel(sleep_ms=10, batch_jobs=1, sleep=clock.advance)
    routes = {SLEEP: {"objective_ms": 50, "deadline_ms": 5_000}}
    async with LocalMesh([model], routes=routes, router={"limits": {"lane_jobs": 10}}) as mesh:
        results = []
        for _ in range(30):
            results.append(asyncio.create_task(mesh.call(SLEEP, b"")))
            await asyncio.sleep(0.0001)
        await asyncio.wait(results)
        refused = [task.exception() for task in results if task.exception()]
        assert all(isinstance(error, Overloaded) and error.reason == "QUEUE_FULL" for error in refused)
        assert 10 <= len(results) - len(refused) <= 13
        await mesh.call(SLEEP, b"")


@virtual_time
async def test_a_large_request_waits_at_the_router_for_its_node() -> None:
    """Over the inline limit only a ticket is queued, and the bytes come over the link when it is claimed."""
    routes = {ECHO: {"objective_ms": 50, "deadline_ms": 500}}
    async with LocalMesh([EchoModel()], routes=routes, router={"limits": {"inline_bytes": 10}}) as mesh:
        body = bytes(100_000)
        assert (await mesh.call(ECHO, body)).payload == body
        assert mesh.under_way == NOTHING


@virtual_time
async def test_a_caller_may_ask_for_a_variant() -> None:
    """One that isn't there is named, with those that are."""
    async with LocalMesh([Shout()], routes=ROUTES) as mesh:
        assert (await mesh.call(ROUTE, b"a", variant="shout")).payload == b"A"
        with pytest.raises(UnknownVariant, match="there is shout"):
            await mesh.call(ROUTE, b"a", variant="whisper")


@virtual_time
async def test_under_overload_most_of_the_work_still_counts() -> None:
    """At twice what the nodes can bear, what is answered in time stays near what they can: no collapse."""
    clock = virtual_clock()
    model = SleepModel(sleep_ms=2, unit_ms=0.25, batch_jobs=64, sleep=clock.advance)
    async with LocalMesh([model], routes={SLEEP: {"objective_ms": 60, "deadline_ms": 120}}) as mesh:
        capacity = 64 / 0.018  # requests a second
        load_s = 0.5
        calls: list[asyncio.Task[object]] = []
        message = toy_pb2.ToyMessage(units=1).SerializeToString()
        for _ in range(int(2 * capacity * load_s)):
            calls.append(asyncio.create_task(mesh.call(SLEEP, message)))
            await asyncio.sleep(1 / (2 * capacity))
        await asyncio.wait(calls)
        met = mesh.router.chronicle.stats[SLEEP].met
        assert met > 0.8 * capacity * load_s
        await asyncio.sleep(1)
        assert mesh.under_way == NOTHING


def test_every_run_is_the_same() -> None:
    """Nodes, batches and times: a failure seen once is seen again."""

    @virtual_time
    async def run() -> list[tuple[str, int, float]]:
        clock = virtual_clock()
        async with LocalMesh([Shout(clock)], routes=ROUTES, nodes=3, hop_s=0.0001) as mesh:
            calls = []
            for number in range(100):
                calls.append(asyncio.create_task(mesh.call(ROUTE, b"x" * (1 + number % 7))))
                await asyncio.sleep(0.0007)
                if number == 50:
                    await mesh.kill_node(mesh.nodes[1])
            answers = await asyncio.gather(*calls)
            return [(a.budget.node, a.budget.batch_jobs, a.budget.total_ms) for a in answers if a.budget]

    first = run()
    assert len(first) == 100
    assert run() == first


async def test_on_an_ordinary_loop_it_runs_in_real_time() -> None:
    """The same mesh; models may then take real time too."""
    async with LocalMesh([SleepModel(sleep_ms=5)], routes={SLEEP: {"objective_ms": 500, "deadline_ms": 5000}}) as mesh:
        answer = await mesh.call(SLEEP, b"")
        assert answer.budget is not None
        assert answer.budget.stages["compute"] > 4.9


class Broken(Shout):
    def load(self) -> None:
        raise OSError("no weights")


@virtual_time
async def test_a_model_that_does_not_load_fails_the_test() -> None:
    """With the model's own words, and nothing of the mesh left running."""
    with pytest.raises(OSError, match="no weights"):
        async with LocalMesh([Broken()], routes=ROUTES):
            pass
    assert len(asyncio.all_tasks()) == 1


@virtual_time
async def test_a_mesh_shows_what_it_is_doing() -> None:
    """In one line, for a test that fails."""
    async with LocalMesh([Shout()], routes=ROUTES) as mesh:
        assert repr(mesh).startswith("<LocalMesh [<Router router-0 at ")
        assert "<Node node-0 at local:0, 0 jobs staged>" in repr(mesh)


@virtual_time
async def test_a_lane_that_had_no_room_is_claimed_from_again() -> None:
    """While payloads are on their way a node may wait on its other lanes alone; it doesn't stay with them."""
    sla = {"objective_ms": 50, "deadline_ms": 1000}
    async with LocalMesh([EchoModel(), SleepModel(sleep_ms=0)], routes={ECHO: sla, SLEEP: sla}, hop_s=0.001) as at:
        for size, count in ((3_000, 100), (60_000, 20), (10, 1)):  # small ones teach how heavy a byte is
            answers = await asyncio.gather(*(at.call(ECHO, bytes(size)) for _ in range(count)))
            assert {len(answer.payload) for answer in answers} == {size}


class Photos(EchoModel):
    """Its requests take a while to decode."""

    decodes_beside = True

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[str] = set()
        self.go_on = threading.Event()

    def decode(self, route: str, payload: bytes) -> bytes:
        self.threads.add(threading.current_thread().name)
        if payload == b"broken":
            raise InvalidRequest.of("image", "can't be decoded")
        if payload == b"large" and not self.go_on.wait(5):
            raise TimeoutError
        return payload


async def test_a_model_may_decode_beside_the_event_loop() -> None:
    """A large request holds up no small one, a bad one harms nobody, and a caller who leaves is forgotten."""
    model = Photos()
    async with LocalMesh([model], routes={ECHO: {"objective_ms": 2000, "deadline_ms": 5000}}) as mesh:
        large, left = (asyncio.create_task(mesh.call(ECHO, b"large")) for _ in range(2))
        small = LocalMesh.call(mesh, ECHO, b"small")
        await asyncio.sleep(0)
        left.cancel()
        model.go_on.set()
        assert (await small).payload == b"small"
        with pytest.raises(InvalidRequest, match="can't be decoded"):
            await mesh.call(ECHO, b"broken")
        assert (await large).payload == b"large"
        assert all(name.startswith("decode") for name in model.threads)
        await mesh.settled()
        assert mesh.under_way == NOTHING
