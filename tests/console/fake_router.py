"""An admin port that says what a test wants: the page's real files, and data put together by the real code."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from isochrone.config import RouteConfig
from isochrone.telemetry import DURATION_BUCKETS_S, STAGES, Histogram
from isochrone_router.console.server import CONTENT_TYPES, HEADERS, page_files
from isochrone_router.console.whole import Whole

RANK, TEXT, PAGE = "isochrone.v1.Recsys/Rank", "isochrone.v1.Llm/Generate", "isochrone.v1.Router/FanOut"
CHEAP, DEAR = "ranker.fp32@cpu", "ranker.fp32@cuda"
SLAS = {
    RANK: RouteConfig(objective_ms=15, target=0.999, deadline_ms=100, lanes=(CHEAP, DEAR)),
    TEXT: RouteConfig(objective_ms=150, target=0.99, deadline_ms=10_000, lanes=("blurb.fp32@cpu",)),
}
FIRST_STEP = 1000
TRACE, FAN_OUT_TRACE = "0af7651916cd43dd8448eb211c80319c", "4bf92f3577b34da6a3ce929d0e0e4736"


def record(**changes: Any) -> dict[str, Any]:
    """A request that is over, as /misses and /traces/<id> tell of it: a ranking that waited too long."""
    return {
        **{"trace_id": TRACE, "route": RANK, "leg": "", "code": "OK", "reason": "", "verdict": "missed"},
        **{"at": "2026-11-23T02:00:00.123Z", "tier": "standard", "router": "router-0"},
        **{"objective_ms": 15.0, "deadline_ms": 100.0, "total_ms": 21.3, "first_ms": None, "blame": "queue"},
        "stages": [
            *(["admit", 0.2], ["queue", 12.1], ["batch_wait", 2.0], ["compute", 5.0], ["link", 1.5], ["answer", 0.5])
        ],
        **{"lane": "ranker.fp32@cpu", "node": "recsys-0", "attempts": 1, "won": None, "direct": False},
        "decision": {
            **{"why": "cheapest", "expected_ms": 3.1, "within_ms": 6.02, "target": 0.999, "retry_after_ms": 0.0},
            **{"device": "cpu", "cost": 4.2e-7, "joules": 0.0},
        },
        **{"caller": "shop", "fallback": None},
        **{"batch": {"jobs": 3, "units": 90, "closed_by": "full"}, "units": 30, "chunks": 0, "tries": []},
        **{"starts_ms": 0.0, "legs": [], "jaeger": None},
        **changes,
    }


def fan_out() -> dict[str, Any]:
    """A page that missed: one of its rankings was given up by a node and sent again, and came late."""
    tries = [{"node": "recsys-1", "ms": 12.0, "why": "its node is gone"}]
    return record(
        **{"trace_id": FAN_OUT_TRACE, "route": PAGE, "total_ms": 24.0, "stages": [], "lane": "", "node": ""},
        **{"at": "2026-11-23T02:00:01.000Z", "batch": None, "jaeger": f"http://127.0.0.1:16686/trace/{FAN_OUT_TRACE}"},
        decision=None,
        legs=[
            record(trace_id=FAN_OUT_TRACE, leg="shelf", total_ms=8.0, verdict="met", blame=None),
            record(trace_id=FAN_OUT_TRACE, leg="also", starts_ms=1.0, total_ms=23.0, attempts=2, won=2, tries=tries),
        ],
    )


def _counts(met: int, missed: int) -> list[Any]:
    durations = Histogram(DURATION_BUCKETS_S)
    durations.observe(0.0045, met)
    durations.observe(0.0195, missed)
    return [met + missed, met, [n for pair in enumerate(durations.counts) if pair[1] for n in pair]]


def part(*, met: int, missed: int, steps: int = 12) -> dict[str, Any]:
    """What a process says that does so much in each of its steps."""

    def span(times: int) -> dict[str, Any]:
        return {
            "seconds": 5.0 * times,
            "routes": {
                RANK: [
                    *_counts(met * times, missed * times),
                    [us * (met + missed) * times for us in (200, 1500, 900, 2100, 400, 100)],
                    [0, missed * times, 0, 0, 0, 0],
                ],
            },
            "nodes": {"recsys-0": [met, 3000 * met, 3300 * met]},
            "lanes": {"ranker.fp32@cpu": [4 * met * times, met * times, 400 * met * times]},
            "decisions": [
                [RANK, "plan", CHEAP, "cheapest", 8 * n, 8 * n, 7 * n, 0.024 * n, 0.026 * n, 2e-6 * n],
                [RANK, "plan", CHEAP, "late", 2 * n, 2 * n, 2 * n, 0.040 * n, 0.038 * n, 5e-7 * n],
                [RANK, "plan", DEAR, "cheapest", 5 * n, 0, 0, 0.0, 0.0, 3e-5 * n],
                [RANK, "refused", "", "OVERLOAD", 3 * n, 0, 0, 0.0, 0.0, 0.0],
                [RANK, "fallback", "", "last_good", 2 * n, 0, 0, 0.0, 0.0, 0.0],
            ]
            if (n := met * times)
            else [],
        }

    latency = {"base_us": 120.0, "per_unit_us": 7.9, "spread": 0.2, "batches": 10, "jobs": 40}
    budget = {"dropped": 3, "stands_back": False, "compute_s": 20.0, "wasted_s": 0.5}
    variant = {"lane": "ranker.fp32@cpu", "variant": "ranker.fp32", "unit": "rows", **latency, **budget}
    return {
        "process": {
            **{"name": "router-0", "boot": "b0", "uptime_s": 500.0, "draining": False},
            **{"inflight": 2, "sessions": 1, "redis": "up"},
            "second_attempts": {"made": 12, "denied": 2, "hedges": 9, "hedges_won": 7, "hedges_denied": 1},
        },
        "callers": [
            {
                **{"caller": "shop", "tiers": ["gold", "standard"], "default_tier": "standard", "rate_per_s": 96.5},
                "quotas": {"rate": {"used": 96.5, "limit": 100}, "concurrency": {"used": 3, "limit": 40}},
                **{"shared": True, "refused": {"QUOTA": 12}},
            },
            {
                **{"caller": "mail", "tiers": ["batch"], "default_tier": "batch", "rate_per_s": 2.0},
                **{"quotas": {}, "shared": True, "refused": {}},
            },
        ],
        "outlooks": {RANK: {CHEAP: [3.1, 6.02, 0.42], DEAR: [1.2, 1.9, 0.97]}},
        "now": span(3),
        "window": span(steps),
        "steps": [
            {
                "number": FIRST_STEP + number,
                "routes": {RANK: _counts(met, missed)},
                "lanes": {"ranker.fp32@cpu": [number % 4, 4 * met, met]},
            }
            for number in range(steps)
        ],
        "lanes": [
            {
                **{"lane": "ranker.fp32@cpu", "depth": 3, "backlog_ms": 4.5, "mode": "lane"},
                **{"unit": "rows", "nodes": ["recsys-0"]},
            },
            {"lane": "blurb.fp32@cpu", "depth": 0, "backlog_ms": 0.0, "mode": "links", "unit": "", "nodes": []},
        ],
        "nodes": [
            {
                **{"name": name, "boot": "n0", "address": "", "device": "cpu", "host": "", "service": ""},
                **{"state": state, "rtt_us": 180, "inflight": 2, "backlog": 0},
                "lanes": [variant | {"stands_back": name == "recsys-1"}],
            }
            for name, state in (("recsys-0", "linked"), ("recsys-1", "silent"))
        ],
    }


class FakeRouter:
    """Serves while it is started; its attributes may be changed at any time."""

    def __init__(self) -> None:
        self.part = part(met=99, missed=1)
        self.boot = "b0"
        self.missing: list[dict[str, str]] = []
        self.misses = [fan_out(), record()]
        self._port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/"

    async def start(self) -> None:
        """At the port it had before, if it had one."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/console.json", self._data),
                *(web.get(f"{prefix}/misses", self._misses) for prefix in ("", "/console")),
                *(web.get(prefix + "/traces/{trace_id}", self._trace) for prefix in ("", "/console")),
                *(web.get(path, self._file) for path in ("/", "/console/{file:.+}")),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _file(self, request: web.Request) -> web.Response:
        name = request.match_info.get("file", "index.html")
        content_type = CONTENT_TYPES[name[name.rindex(".") :]]
        return web.Response(body=page_files()[name], content_type=content_type, charset="utf-8", headers=HEADERS)

    async def _data(self, request: web.Request) -> web.Response:
        after = int(request.query.get("after", "-1"))
        steps = [step for step in self.part["steps"] if step["number"] > after]
        whole = Whole([self.part | {"steps": steps}])
        told = {
            **{"mesh": "shop", "boot": self.boot, "at_ms": 1_795_400_000_000, "step_s": 5.0, "most_steps": 180},
            **{"now_s": 5.0 * (FIRST_STEP + len(self.part["steps"])) + 1.0, "steps": whole.steps},
            **{"processes": [self.part["process"]], "missing": self.missing},
            **{"lanes": whole.lanes(), "nodes": whole.nodes(), "callers": whole.callers()},
            "routes": [whole.route(name, SLAS.get(name)) for name in (*SLAS, PAGE)],
        }
        return web.json_response(told, headers=HEADERS)

    async def _misses(self, _: web.Request) -> web.Response:
        return web.json_response({"misses": self.misses, "seen": 40, "kept": len(self.misses)})

    async def _trace(self, request: web.Request) -> web.Response:
        found = [one for one in self.misses if one["trace_id"] == request.match_info["trace_id"]]
        return web.json_response({"requests": found} if found else {"error": "nothing"}, status=200 if found else 404)


assert len(STAGES) == 6  # as many as the parts above have
