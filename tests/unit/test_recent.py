"""What a router remembers of requests that are over: which, how many, for how long, and how it tells them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from isochrone.errors import IsochroneError, Overloaded
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, SLEEP, EchoModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import router_pb2
from isochrone_router.front import FAN_OUT
from isochrone_router.past import Past, Try
from isochrone_router.recent import COUNTED_S, IN_ORDER_S, WRONG_S, Recent
from isochrone_router.recent_api import RecentApi
from isochrone_router.record import Records

OBJECTIVE_MS, DEADLINE_MS = 15, 100
ROUTES = {SLEEP: {"objective_ms": OBJECTIVE_MS, "deadline_ms": DEADLINE_MS}}
JAEGER = "http://jaeger.example:16686/"


def sleeps(**settings: Any) -> LocalMesh:
    """A mesh of one node whose every unit takes a millisecond."""
    model = SleepModel(sleep_ms=0, unit_ms=1, batch_jobs=1, sleep=virtual_clock().advance)
    return LocalMesh([model], routes=ROUTES, **settings)


def body(units: int) -> bytes:
    return toy_pb2.ToyMessage(units=units).SerializeToString()


def page(**units: int) -> bytes:
    """A fan-out of legs with so many units."""
    legs = []
    for name, count in units.items():
        leg = router_pb2.Leg(name=name, route=SLEEP)
        leg.request.value = body(count)
        legs.append(leg)
    return router_pb2.FanOutRequest(legs=legs).SerializeToString()


async def pasts(mesh: LocalMesh, *units: int) -> list[Past]:
    """What is told of requests of so many units, one after the other."""
    for count in units:
        with contextlib.suppress(IsochroneError):
            await mesh.call(SLEEP, body(count))
    return of(mesh.router.recent)


def of(recent: Recent) -> list[Past]:
    """All that is kept, by arrival."""
    return sorted((*recent._in_order._pasts, *recent._wrong._pasts), key=lambda past: past.received_s)


def moved(past: Past, seconds: float, *, trace_id: int | None = None) -> Past:
    """The same at another time, in another trace."""
    place = past.place
    if trace_id is not None:
        place = place._replace(span=place.span._replace(trace_id=trace_id))
    return past._replace(received_s=past.received_s + seconds, place=place)


@virtual_time
async def test_a_request_is_found_by_its_trace() -> None:
    """Whether it was in time or not, and only under its own."""
    async with sleeps() as mesh:
        for units, verdict in ((5, "met"), (30, "missed")):
            answer = await mesh.call(SLEEP, body(units))
            assert answer.budget is not None
            (past,) = mesh.router.recent.of_trace(int(answer.budget.trace_id, 16))
            assert (past.verdict, past.report) == (verdict, answer.budget.report)
        assert mesh.router.recent.of_trace(1) == []


@virtual_time
async def test_misses_come_newest_first_and_are_counted() -> None:
    """Late and failed ones; not those in time, and not those whose callers left."""
    async with sleeps() as mesh:
        await pasts(mesh, 5, 20, 30, 5)
        with pytest.raises(Overloaded):
            await mesh.call(SLEEP, body(5), timeout_s=0.001)
        left = asyncio.create_task(mesh.call(SLEEP, body(50)))
        await asyncio.sleep(0.03)
        left.cancel()
        await asyncio.wait({left})
        found = mesh.router.recent.misses(60, limit=10)
        assert [miss.past.verdict for miss in found.newest] == ["failed", "missed", "missed"]
        assert [round(miss.past.report.total_us, -3) for miss in found.newest[1:]] == [30_000, 20_000]
        assert (found.kept, found.seen) == (3, 3)
        assert len(mesh.router.recent.misses(60, limit=1).newest) == 1
        assert {past.verdict for past in of(mesh.router.recent)} == {"met", "missed", "failed", "cancelled"}


@virtual_time
async def test_a_leg_that_missed_is_a_miss_of_its_route() -> None:
    """With the fan-out that it was part of; and the page is found by the trace of both."""
    async with sleeps() as mesh:
        answer = await mesh.call(FAN_OUT, page(quick=2, slow=40), timeout_s=0.09)
        await asyncio.sleep(0)
        assert answer.budget is not None
        found = mesh.router.recent.misses(60, limit=10)
        assert sorted((miss.past.route, miss.past.leg) for miss in found.newest) == [(SLEEP, "slow"), (FAN_OUT, "")]
        assert {miss.whole.route for miss in found.newest} == {FAN_OUT}
        (miss,) = mesh.router.recent.misses(60, limit=10, routes=[SLEEP]).newest
        assert miss.past.leg == "slow"
        assert mesh.router.recent.misses(60, limit=10, routes=[SLEEP]).seen == 1
        (whole,) = mesh.router.recent.of_trace(int(answer.budget.trace_id, 16))
        assert {leg.leg for leg in whole.legs} == {"quick", "slow"}
        assert {leg.place.span.trace_id for leg in whole.legs} == {whole.place.span.trace_id}


@virtual_time
async def test_floods_of_one_kind_leave_the_other_alone() -> None:
    """Neither good requests push out misses, nor misses good ones; and all misses are counted."""
    async with sleeps() as mesh:
        met, missed = await pasts(mesh, 5, 30)
    now_s = met.received_s + 1
    recent = Recent(clock=lambda: now_s, in_order=8, wrong=4)
    recent(missed)
    for number in range(1, 101):
        recent(moved(met, 0, trace_id=number))
    assert [past.place.span.trace_id for past in recent._in_order._pasts] == list(range(93, 101))
    assert recent.of_trace(missed.place.span.trace_id) == [missed]
    for number in range(1, 101):
        recent(moved(missed, 0, trace_id=number))
    assert len(of(recent)) == 8 + 4
    assert recent.of_trace(97) == [moved(met, 0, trace_id=97), moved(missed, 0, trace_id=97)]
    found = recent.misses(60, limit=100)
    assert (len(found.newest), found.kept, found.seen) == (4, 4, 101)
    assert repr(recent) == "<Recent 8 in order, 4 not, 0 turned away>"


TURNED_AWAY = [
    *(("UNAUTHENTICATED", reason) for reason in ("NO_CREDENTIALS", "MALFORMED_TOKEN", "UNKNOWN_CALLER", "REVOKED")),
    ("PERMISSION_DENIED", "TIER_DENIED"),
    ("RESOURCE_EXHAUSTED", "QUOTA"),
]


@pytest.mark.parametrize(("code", "reason"), TURNED_AWAY)
@virtual_time
async def test_whoever_is_turned_away_pushes_nothing_out(code: str, reason: str) -> None:
    """However many come, alone or in pages; they are counted by themselves, and the last of them found by their
    traces."""
    async with sleeps() as mesh:
        met, missed = await pasts(mesh, 5, 30)
        await mesh.call(FAN_OUT, page(a=1, b=1), timeout_s=0.09)
        await asyncio.sleep(0)
        whole = of(mesh.router.recent)[-1]
    now_s = missed.received_s + 1
    recent = Recent(clock=lambda: now_s, in_order=4, wrong=4, turned_away=4)
    recent(met)
    recent(missed)
    legs = tuple(leg._replace(code=code, reason=reason) for leg in whole.legs)
    for number in range(1, 101):
        recent(moved(missed, 0, trace_id=number)._replace(code=code, reason=reason))
        recent(moved(whole, 0, trace_id=1000 + number)._replace(code="OK", reason="", legs=legs))
    assert [len(recent.of_trace(past.place.span.trace_id)) for past in (met, missed)] == [1, 1]
    assert recent.of_trace(1100) != []
    assert recent.of_trace(1) == []
    found = recent.misses(60, limit=100)
    assert ([miss.past for miss in found.newest], found.kept, found.seen) == ([missed], 1, 1)
    assert found.turned_away == 300
    assert repr(recent) == "<Recent 1 in order, 1 not, 4 turned away>"


@virtual_time
async def test_a_page_of_which_something_was_let_in_is_a_miss() -> None:
    """One leg past its caller's quota doesn't hide what became of the others; nor does a refusal for want of room."""
    async with sleeps() as mesh:
        await mesh.call(FAN_OUT, page(a=1, b=1), timeout_s=0.09)
        await asyncio.sleep(0)
        (whole,) = of(mesh.router.recent)
    first, second = whole.legs
    refused = first._replace(code="RESOURCE_EXHAUSTED", reason="QUOTA")
    assert not whole._replace(legs=(refused, second)).is_turned_away
    assert whole._replace(legs=(refused, refused)).is_turned_away
    assert not first._replace(code="RESOURCE_EXHAUSTED", reason="OVERLOAD").is_turned_away
    assert not first._replace(code="OK", reason="QUOTA").is_turned_away


@virtual_time
async def test_legs_take_room_like_requests_by_themselves() -> None:
    """Else pages of 32 legs would hold 33 times what is allowed for."""
    async with sleeps() as mesh:
        await mesh.call(FAN_OUT, page(a=1, b=1, c=1), timeout_s=0.09)
        await asyncio.sleep(0)
        (whole,) = of(mesh.router.recent)
    recent = Recent(clock=lambda: whole.received_s, in_order=10)
    for _ in range(5):
        recent(whole)
    assert [past.route for past in of(recent)] == [FAN_OUT] * 2


@virtual_time
async def test_what_is_old_is_forgotten() -> None:
    """Good ones first, also where nothing comes after them; counts last longest, but not for ever."""
    async with sleeps() as mesh:
        met, missed = await pasts(mesh, 5, 30)
    now_s = missed.received_s + 1
    recent = Recent(clock=lambda: now_s)
    recent(met)
    recent(missed)
    of_met, of_missed = met.place.span.trace_id, missed.place.span.trace_id
    now_s += IN_ORDER_S
    assert (len(recent.of_trace(of_met)), len(recent.of_trace(of_missed))) == (0, 1)
    assert recent.misses(60, limit=9) == ([], 0, 0, 0)
    now_s = missed.received_s + WRONG_S + 1
    assert recent.of_trace(of_missed) == of(recent) == []
    assert recent.misses(COUNTED_S, limit=9) == ([], 0, 1, 0)
    for hour in range(1, 6):
        recent(moved(missed, hour * 3600))
    assert len(recent._seconds) == 3


class Http:
    """An admin port with nothing but this on it."""

    def __init__(self, recent: Recent, *, jaeger: str | None = None) -> None:
        api = RecentApi(
            recent,
            Records("router-0", jaeger),
            routes=(SLEEP, ECHO, FAN_OUT),
            clock=asyncio.get_running_loop().time,
        )
        app = web.Application()
        app.add_routes(api.routes())
        self._runner = web.AppRunner(app, access_log=None)
        self.base = ""

    async def get(self, path: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as http, http.get(self.base + path) as got:
            assert got.content_type == "application/json"
            return got.status, await got.json()

    async def __aenter__(self) -> Http:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


@contextlib.asynccontextmanager
async def told(*, jaeger: str | None = None, objective_ms: float = 0.001) -> AsyncIterator[tuple[LocalMesh, Http]]:
    """A mesh in real time whose objective nobody meets, unless said, and what it tells over HTTP."""
    async with (
        LocalMesh([EchoModel()], routes={ECHO: {"objective_ms": objective_ms, "deadline_ms": 5000}}) as mesh,
        Http(mesh.router.recent, jaeger=jaeger) as http,
    ):
        yield mesh, http


STAGES = ["admit", "queue", "batch_wait", "compute", "link", "answer"]


async def test_a_miss_is_told_in_full() -> None:
    """Every field, with its unit; the stages add up to the total."""
    async with told(jaeger=JAEGER) as (mesh, http):
        answer = await mesh.call(ECHO, b"hello")
        assert answer.budget is not None
        code, found = await http.get("/misses?since_s=60&limit=10")
        assert (code, found["seen"], found["kept"]) == (200, 1, 1)
        (record,) = found["misses"]
        assert await http.get(f"/traces/{record['trace_id']}") == (200, {"requests": [record]})
        assert await http.get(f"/traces/{record['trace_id'].upper()}") == (200, {"requests": [record]})
    assert [stage for stage, _ in record["stages"]] == STAGES
    assert sum(spent_ms for _, spent_ms in record["stages"]) == pytest.approx(record["total_ms"])
    assert record.pop("at").endswith("Z")
    assert (record.pop("total_ms"), record.pop("blame")) == (answer.budget.total_ms, answer.budget.blame)
    assert answer.budget.tier == "standard"
    del record["stages"]
    decision, planned = answer.budget.decision, record.pop("decision")
    assert decision is not None
    assert planned == {
        "why": decision.why,
        "expected_ms": decision.expected_ms,
        "within_ms": decision.within_ms,
        "target": 0.999,
        "retry_after_ms": 0.0,
        "held_ms": 0.0,
        "device": "cpu",
        "cost": decision.cost,
        "joules": 0.0,
    }
    assert decision.why == "fastest"
    assert record == {
        "trace_id": answer.budget.trace_id,
        "route": ECHO,
        "leg": "",
        "code": "OK",
        "reason": "",
        "verdict": "missed",
        "tier": "standard",
        "caller": "anonymous",
        "router": "router-0",
        "objective_ms": 0.001,
        "deadline_ms": 5000.0,
        "first_ms": None,
        "lane": "echo@cpu",
        "node": "node-0",
        "attempts": 1,
        "won": None,
        "direct": False,
        "batch": {"jobs": 1, "units": 1, "closed_by": answer.budget.closed_by},
        "units": 1,
        "chunks": 0,
        "fallback": None,
        "tries": [],
        "starts_ms": 0.0,
        "legs": [],
        "jaeger": f"http://jaeger.example:16686/trace/{answer.budget.trace_id}",
    }


async def test_a_page_is_told_with_its_legs() -> None:
    """Each with when it began; the whole has no stages of its own."""
    legs = [router_pb2.Leg(name=name, route=ECHO) for name in ("first", "second")]
    async with told() as (mesh, http):
        await mesh.call(FAN_OUT, router_pb2.FanOutRequest(legs=legs).SerializeToString(), timeout_s=5)
        await asyncio.sleep(0)
        _, found = await http.get("/misses")
        assert sorted(miss["leg"] for miss in found["misses"]) == ["", "first", "second"]
        _, traced = await http.get(f"/traces/{found['misses'][0]['trace_id']}")
        (whole,) = traced["requests"]
        _, of_route = await http.get("/misses?route=Router/FanOut")
        assert of_route == {"misses": [whole], "seen": 1, "kept": 1, "turned_away": 0}
    assert (whole["route"], whole["stages"], whole["batch"], whole["jaeger"]) == (FAN_OUT, [], None, None)
    assert [leg["leg"] for leg in whole["legs"]] == ["first", "second"]
    assert 0 <= whole["legs"][0]["starts_ms"] <= whole["legs"][1]["starts_ms"] <= whole["total_ms"]
    assert all(leg in found["misses"] for leg in whole["legs"])


async def test_what_nobody_traced_has_no_link_to_a_trace() -> None:
    """In time, and not sampled: Jaeger has never heard of it."""
    async with told(jaeger=JAEGER, objective_ms=5000) as (mesh, http):
        (past,) = await echoed(mesh, sampled=False)
        trace_id = f"{past.place.span.trace_id:032x}"
        _, found = await http.get(f"/traces/{trace_id}")
        assert (found["requests"][0]["verdict"], found["requests"][0]["jaeger"]) == ("met", None)
        (past,) = await echoed(mesh, sampled=True)
        _, found = await http.get(f"/traces/{past.place.span.trace_id:032x}")
        assert found["requests"][0]["jaeger"] is not None
        assert (await http.get("/misses"))[1] == {"misses": [], "seen": 0, "kept": 0, "turned_away": 0}


async def echoed(mesh: LocalMesh, *, sampled: bool) -> list[Past]:
    """One more request, whose caller decided so."""
    parent = f"00-{'ab' * 15}{int(sampled):02x}-{'cd' * 8}-{int(sampled):02x}"
    await mesh.router.front.serve(mesh.make_call(ECHO, b"")._replace(traceparent=parent))
    return mesh.router.recent.of_trace(int(parent[3:35], 16))


async def test_tries_that_were_given_up_are_told() -> None:
    """A request that was sent again went wrong, if in time."""
    async with told(objective_ms=5000) as (mesh, http):
        (past,) = await echoed(mesh, sampled=False)
        given_up = Try(node="node-7", sent_s=past.received_s, ended_s=past.received_s + 0.012, why="its node is gone")
        mesh.router.recent(moved(past, 0, trace_id=7)._replace(tries=(given_up,)))
        _, found = await http.get(f"/traces/{7:032x}")
        assert found["requests"][0]["tries"] == [{"node": "node-7", "ms": 12.0, "why": "its node is gone"}]
        assert (await http.get("/misses"))[1]["seen"] == 0


async def test_many_are_told_in_pieces() -> None:
    """All of them, whole."""
    async with told() as (mesh, http):
        await asyncio.gather(*(mesh.call(ECHO, b"") for _ in range(100)))
        _, found = await http.get("/misses?limit=64")
        assert (len(found["misses"]), found["seen"], found["kept"]) == (64, 100, 100)
        assert json.dumps(found["misses"])
        assert (await http.get("/misses?limit=0"))[1] == {"misses": [], "seen": 100, "kept": 100, "turned_away": 0}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/misses?since_s=abc", "since_s=abc: seconds, more than 0 and at most 7200"),
        ("/misses?since_s=-1", "since_s=-1: seconds"),
        ("/misses?since_s=nan", "since_s=nan: seconds"),
        ("/misses?since_s=inf", "since_s=inf: seconds"),
        ("/misses?since_s=0", "since_s=0: seconds"),
        ("/misses?since_s=", "since_s=: seconds"),
        ("/misses?limit=-1", "limit=-1: how many"),
        ("/misses?limit=1.5", "limit=1.5: how many"),
        ("/misses?limit=%C2%B2", "limit=²: how many"),
        ("/misses?limit=9999999999", "limit=9999999999: how many"),
        ("/misses?route=Nobody/Knows", f"route=Nobody/Knows: there is {SLEEP}"),
        ("/traces/" + "a" * 31, "is no trace id: those have 32 hex digits"),
        ("/traces/" + "a" * 33, "is no trace id"),
        ("/traces/" + "g" * 32, "is no trace id"),
    ],
)
async def test_a_wrong_question_gets_a_sentence(path: str, said: str) -> None:
    """And 400, not a traceback."""
    async with Http(Recent(clock=asyncio.get_running_loop().time)) as http:
        code, found = await http.get(path)
        assert code == 400
        assert said in found["error"]


async def test_what_is_not_kept_is_not_there() -> None:
    """404."""
    async with Http(Recent(clock=asyncio.get_running_loop().time)) as http:
        assert await http.get("/traces/" + "a" * 32) == (404, {"error": f"nothing is kept of trace {'a' * 32}"})


@pytest.mark.parametrize(("given", "routes"), [("Sleep", [SLEEP]), ("Toy/Sleep", [SLEEP]), (SLEEP, [SLEEP])])
async def test_a_route_is_known_by_its_end(given: str, routes: Sequence[str]) -> None:
    """As commands take it."""
    async with Http(Recent(clock=asyncio.get_running_loop().time)) as http:
        assert await http.get(f"/misses?route={given}") == (200, {"misses": [], "seen": 0, "kept": 0, "turned_away": 0})
