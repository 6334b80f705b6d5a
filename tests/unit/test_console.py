"""The console's figures: what is tallied of requests, and the parts of several processes put together."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from isochrone.config import MeshConfig, RouteConfig
from isochrone.embedded import private_folder
from isochrone.telemetry import DURATION_BUCKETS_S, STAGES, Histogram
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, REPEAT, SLEEP, EchoModel, RepeatModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import budget_pb2
from isochrone_router import router as router_module
from isochrone_router.console.server import CONTENT_TYPES, page_files
from isochrone_router.console.siblings import Missing, Sibling, ask_all
from isochrone_router.console.whole import Whole
from isochrone_router.router import Router

SLA = RouteConfig(objective_ms=15, target=0.9, deadline_ms=100, lanes=("ranker@cpu",))
RANK = "shop.v1.Search/Rank"


def part(name: str, *, fast: int = 0, slow: int = 0, number: int = 200, **changes: Any) -> dict[str, Any]:
    """What a process says that has answered so many in some 5 ms, and so many in some 20 ms."""
    bounds = Histogram(DURATION_BUCKETS_S)
    bounds.observe(0.0045, fast)
    bounds.observe(0.0195, slow)
    durations = [n for pair in enumerate(bounds.counts) if pair[1] for n in pair]
    brief = [fast + slow, fast, durations]
    whole = [*brief, [1000 * (fast + slow)] * len(STAGES), [0, slow, 0, 0, 0, 0]]
    span: dict[str, Any] = {
        "seconds": 10.0,
        "routes": {RANK: whole},
        "nodes": {},
        "lanes": {"ranker@cpu": [40, 10, 400]},
    }
    span["decisions"] = [
        [RANK, "plan", "ranker@cpu", "cheapest", fast, fast, fast, 0.004 * fast, 0.005 * fast, 0.001 * fast],
        [RANK, "plan", "ranker@cpu", "late", slow, slow, 0, 0.010 * slow, 0.020 * slow, 0.001 * slow],
        [RANK, "refused", "", "OVERLOAD", slow, 0, 0, 0.0, 0.0, 0.0],
        [RANK, "fallback", "", "static", fast, 0, 0, 0.0, 0.0, 0.0],
    ]
    return {
        "process": {"name": name},
        "callers": [
            {
                **{"caller": "shop", "tiers": ["gold"], "default_tier": "gold", "rate_per_s": fast + slow},
                **{"quotas": {"rate": {"used": fast, "limit": 100}}, "refused": {"QUOTA": slow}},
            }
        ],
        "outlooks": {RANK: {"ranker@cpu": [3.0 if fast else 4.0, 6.0, 0.5]}},
        "now": span,
        "window": span,
        "steps": [{"number": number, "routes": {RANK: brief}, "lanes": {"ranker@cpu": [3, 40, 10]}}],
        "lanes": [
            {"lane": "ranker@cpu", "depth": 3, "backlog_ms": 4.5, "mode": "lane", "unit": "rows", "nodes": ["recsys-0"]}
        ],
        "nodes": [{"name": "recsys-0", "state": "linked", "inflight": 2, "backlog": 5}],
    } | changes


def test_counts_of_processes_are_added_before_they_are_made_figures_of() -> None:
    """One process answered 98 quickly, another 2 slowly: the 99th percentile is slow, not the mean of two."""
    route = Whole([part("router-0", fast=98), part("router-1", slow=2)]).route(RANK, SLA)
    assert (route["now"]["requests"], route["now"]["met"], route["now"]["attainment"]) == (100, 98, 0.98)
    assert route["now"]["rate_per_s"] == 10.0
    assert route["now"]["p50_ms"] < 5 < 18 < route["now"]["p99_ms"]
    assert route["now"]["stages_ms"]["compute"] == 1.0
    assert route["now"]["blamed"] | {"queue": 2} == route["now"]["blamed"]
    assert route["steps"]["requests"] == [100]
    assert route["steps"]["p99_ms"] == [route["now"]["p99_ms"]]


def test_decisions_of_processes_are_added_too() -> None:
    """Where requests were sent and why, what was foretold and what came, what it cost; and who was refused or got a
    fallback. Of what to expect now the worse counts."""
    route = Whole([part("router-0", fast=3), part("router-1", slow=1)]).route(RANK, SLA)
    assert route["window"]["decisions"] == {
        "lanes": [
            {
                **{"lane": "ranker@cpu", "requests": 4, "share": 1.0, "why": {"cheapest": 3, "late": 1}},
                **{"expected_ms": 5.5, "took_ms": 8.75, "within": 0.75, "cost_per_1000": 1.333},
            }
        ],
        "refused": {"OVERLOAD": 1},
        "fallbacks": {"static": 3},
        "cost_per_1000": 1.333,
    }
    assert route["outlook"] == {"ranker@cpu": {"expected_ms": 4.0, "within_ms": 6.0, "spare": 0.5}}


def test_a_caller_uses_what_it_uses_at_all_processes() -> None:
    """Its quota is for all of them."""
    (caller,) = Whole([part("router-0", fast=98), part("router-1", fast=1, slow=2)]).callers()
    assert caller["quotas"] == {"rate": {"used": 99, "limit": 100}}
    assert (caller["rate_per_s"], caller["refused"]) == (101, {"QUOTA": 2})


def test_a_lane_is_the_same_to_all_processes() -> None:
    """What waits in it and what its nodes have run is not added: each process hears of all of it."""
    (lane,) = Whole([part("router-0", fast=1), part("router-1", fast=1)]).lanes()
    assert (lane["depth"], lane["window"]["batch_jobs"], lane["window"]["batch_units"]) == (3, 4.0, 40.0)
    assert lane["steps"] == {"depth": [3], "batch_jobs": [4.0]}


def test_a_node_is_as_well_as_the_process_that_reaches_it_worst_says() -> None:
    """And it has in hand what all have given it."""
    silent = part("router-1", nodes=[{"name": "recsys-0", "state": "silent", "inflight": 1, "backlog": 5}])
    (node,) = Whole([part("router-0"), silent]).nodes()
    assert (node["state"], node["states"], node["inflight"]) == ("silent", ["silent", "linked"], 3)
    assert node["forecasts"] == {"jobs": 0, "predicted_ms": None, "actual_ms": None}


def test_steps_of_processes_meet_by_their_numbers() -> None:
    """One that started later knows nothing of the earlier ones."""
    whole = Whole([part("router-0", fast=1, number=200), part("router-1", fast=2, number=201)])
    assert whole.steps == [200, 201]
    assert whole.route(RANK, SLA)["steps"]["requests"] == [1, 2]


def test_nothing_asked_is_no_figure() -> None:
    """None, and not 100 % or 0 ms."""
    route = Whole([part("router-0")]).route("shop.v1.Search/Other", None)
    assert (route["now"]["attainment"], route["now"]["p99_ms"], route["target"]) == (None, None, None)
    assert set(route["now"]["stages_ms"].values()) == {None}


@virtual_time
async def test_forecasts_are_tallied_by_node() -> None:
    """What it foretold when it claimed a job, and what came."""
    sleepy, prompt = {"objective_ms": 2, "deadline_ms": 100}, {"objective_ms": 50, "deadline_ms": 100}
    model = SleepModel(sleep=virtual_clock().advance, sleep_ms=10)
    async with LocalMesh([model, EchoModel()], routes={SLEEP: sleepy, ECHO: prompt}) as mesh:
        for _ in range(3):
            await mesh.call(SLEEP, toy_pb2.ToyMessage(body=b"x").SerializeToString())
            await mesh.call(ECHO, b"")
        tally = mesh.router.tally
        assert mesh.router.chronicle.stats[SLEEP].misses["compute"] == 3
        assert tally.routes == {}
        assert tally.nodes["node-0"].jobs > 0
        assert tally.nodes["node-0"].actual_us >= 30_000
        assert repr(tally) == f"<Tally of {tally.nodes['node-0'].jobs} forecasts>"


@virtual_time
async def test_of_a_stream_the_budget_ends_with_the_first_chunk() -> None:
    """What comes after it is no stage's time, as far as the objective goes."""
    async with LocalMesh([RepeatModel()], routes={REPEAT: {"objective_ms": 50, "deadline_ms": 10_000}}) as mesh:
        request = toy_pb2.ToyMessage(body=b"x", units=3).SerializeToString()
        reports: list[budget_pb2.BudgetReport] = []
        async for _ in mesh.stream(REPEAT, request, ended=lambda end: reports.append(end.budget)):
            await asyncio.sleep(0.2)
        (report,) = reports
        beyond_us = sum(mesh.router.tally.routes[REPEAT].beyond_us)
        assert sum(report.stage_us) - beyond_us == pytest.approx(report.first_us, abs=10)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(router_module, "FIRST_NODE_S", 0.01)
    folder = private_folder()
    yield folder
    shutil.rmtree(folder)


def config(folder: Path, *, processes: int = 1) -> MeshConfig:
    return MeshConfig.model_validate(
        {
            "redis": {"url": "none"},
            "router": {"listen": "127.0.0.1:0", "admin": f"unix:{folder}/admin", "processes": processes},
            "routes": {ECHO: {"objective_ms": 5, "deadline_ms": 50, "lanes": ["echo@cpu"]}},
        }
    )


async def get(folder: Path, path: str) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(f"{folder}/admin")) as http,
        http.get(f"http://router{path}") as answer,
    ):
        is_json = answer.content_type == "application/json"
        return answer.status, await answer.json() if is_json else (await answer.text(), answer.headers)


async def test_the_process_that_is_asked_asks_the_others(folder: Path) -> None:
    """One that is gone is named, with what is known of it."""
    first, second = (Router(config(folder, processes=2), index=index) for index in range(2))
    await first.start()
    await second.start()
    _, told = await get(folder, "/console.json")
    assert [process["name"] for process in told["processes"]] == ["router-0", "router-1"]
    assert told["missing"] == []
    await second.drain(1.0)
    _, told = await get(folder, "/console.json")
    assert [process["name"] for process in told["processes"]] == ["router-0"]
    assert told["missing"] == [{"name": "router-1", "why": "it can't be reached"}]
    await first.drain(1.0)


async def test_misses_of_all_processes_are_told_newest_first(folder: Path) -> None:
    """And a trace by whoever remembers something of it."""
    router = Router(config(folder, processes=2))
    trace_id = "ab" * 16
    kept = [{"trace_id": trace_id, "at": f"2026-11-23T02:00:0{second}.000Z"} for second in (1, 3, 2)]

    async def misses(_: web.Request) -> web.Response:
        return web.json_response({"misses": kept, "seen": 40, "kept": 3})

    async def trace(request: web.Request) -> web.Response:
        found = request.match_info["trace_id"] == trace_id
        return web.json_response({"requests": kept[:1] if found else []}, status=200 if found else 404)

    app = web.Application()
    app.add_routes([web.get("/misses", misses), web.get("/traces/{trace_id}", trace)])
    other = web.AppRunner(app)
    await other.setup()
    await web.UnixSite(other, f"{folder}/admin.1").start()
    await router.start()
    status, told = await get(folder, "/console/misses?since_s=600&limit=2")
    assert (status, told["seen"], told["kept"]) == (200, 40, 3)
    assert [record["at"][17:19] for record in told["misses"]] == ["03", "02"]
    assert await get(folder, f"/console/traces/{trace_id}") == (200, {"requests": kept[:1]})
    assert (await get(folder, f"/console/traces/{'0' * 32}"))[0] == 404
    await router.drain(1.0)
    await other.cleanup()


async def test_one_that_takes_too_long_is_missing_too() -> None:
    """The page waits for nobody."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    answers = await ask_all([Sibling("router-1", f"{host}:{port}")], "/console.json", {})
    assert answers == [Missing("router-1", "no answer within 0.4 s")]
    server.close()
    await server.wait_closed()


async def test_the_page_comes_with_its_files_and_a_strict_policy(folder: Path) -> None:
    """At / and /console; nothing inline, nothing from elsewhere, and no way out of its folder."""
    router = Router(config(folder))
    await router.start()
    for path in ("/", "/console"):
        status, (page, headers) = await get(folder, path)
        assert status == 200
        assert "<title>Isochrone</title>" in page
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    for name in page_files():
        assert (await get(folder, f"/console/{name}"))[0] == 200
    for path in ("/console/server.py", "/console/../server.py", "/console/%2e%2e/server.py", "/console/vendor"):
        assert (await get(folder, path))[0] == 404
    assert (await get(folder, "/console.json?after=x"))[0] == 400
    assert (await get(folder, "/console/traces/x"))[0] == 400
    await router.drain(1.0)


def test_the_charts_library_comes_with_its_licence() -> None:
    """As it is published."""
    vendor = Path(router_module.__file__).parent / "console" / "page" / "vendor"
    (library,) = vendor.iterdir()
    assert "MIT License" in (library / "LICENSE").read_text()
    assert {Path(name).suffix for name in page_files()} <= set(CONTENT_TYPES)
