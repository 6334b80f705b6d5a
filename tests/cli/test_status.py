"""`isochrone status` shows what the router's admin says, and copes with one that says more or less."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from rich.text import Text

from isochrone.cli import main, screen
from isochrone.cli.admin import url_of, wait_ready
from isochrone.errors import Unavailable

STATUS: dict[str, Any] = {
    "mesh": "shop",
    "router": {
        **{"name": "router", "boot": "b1", "pid": 42, "uptime_s": 300.2, "inflight": 7, "inflight_bytes": 20480},
        "second_attempts": {"made": 12, "denied": 2, "hedges": 9, "hedges_won": 7, "hedges_denied": 1},
    },
    "redis": {"state": "stalled", "epoch": 3},
    "routes": [
        {
            "route": "isochrone.v1.Recsys/Rank",
            "objective_ms": 15,
            "target": 0.999,
            "requests": 12345,
            "answered": 12340,
            "missed": 20,
            "errors": {"RESOURCE_EXHAUSTED": 5},
            "refused": {"OVERLOAD": 4, "QUOTA": 1},
            "cost_per_1000": 0.00042,
            "lanes": [
                {
                    **{"lane": "ranker.int8@cpu", "requests": 300, "why": {"cheapest": 270, "late": 30}},
                    **{"took_ratio": 1.04, "within": 0.9989, "expected_ms": 3.1, "within_ms": 6.02, "spare": 0.3},
                },
                {"lane": "ranker.fp32@cuda", "requests": 100, "why": {"cheapest": 100}},
            ],
            "rate_per_s": 321.4,
            "p50_ms": 2.345,
            "p99_ms": 11.27,
            "attainment": 0.99899,
        }
    ],
    "lanes": [
        {
            **{"lane": "ranker.fp32@cpu", "depth": 3, "mode": "links", "mean_jobs": 2.5, "mean_units": 250, "nodes": 2},
            **{"standing_back": 1, "wait_ms": 4.5},
        }
    ],
    "nodes": [
        {
            "name": "recsys-0",
            "device": "cpu",
            "state": "silent",
            "rtt_us": 180,
            "inflight": 3,
            "latency": {"ranker.fp32@cpu": {"base_us": 120, "per_unit_us": 7.9, "spread": 0.2}},
            "batches": 100,
            "jobs": 250,
        }
    ],
    "callers": [
        {
            "caller": "backend",
            "tiers": ["gold", "standard"],
            "default_tier": "standard",
            "rate_per_s": 80.04,
            "quotas": {"rate": {"used": 80.0, "limit": 200}, "concurrency": {"used": 3, "limit": 100}},
            "shared": True,
            "refused": {"QUOTA": 4, "TIER_DENIED": 1},
        },
        {"caller": "reports", "tiers": ["batch"], "rate_per_s": 0, "quotas": {}, "shared": True, "refused": {}},
    ],
}


class Admin:
    """A router's admin HTTP with what a test wants it to say."""

    def __init__(self) -> None:
        self.status: Any = STATUS
        self.readyz = [503, 503, 200]
        admin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                code, body = 200, json.dumps(admin.status).encode()
                if self.path == "/readyz":
                    code, body = admin.readyz.pop(0), b"no route has a node\n"
                self.send_response(code)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def admin() -> Iterator[Admin]:
    made = Admin()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def test_json_is_passed_on_as_it_came(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts."""
    assert run("status", "--once", "--json", "--admin", admin.address) == 0
    assert json.loads(capsys.readouterr().out) == STATUS


def test_once_prints_routes_lanes_nodes_and_callers(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures with their units; an attainment below its target is not rounded up to it."""
    assert run("status", "--once", "--admin", f"http://{admin.address}/") == 0
    printed = capsys.readouterr().out
    assert "shop  router router, pid 42, up 5 min, 7 under way (20 kB)  redis stalled" in printed
    rows = {line.split()[0]: " ".join(line.split()) for line in printed.splitlines() if line.strip()}
    assert rows["isochrone.v1.Recsys/Rank"] == (
        "isochrone.v1.Recsys/Rank 99.899 % 99.9 % 2.35 ms 11.3 ms 15 ms 321/s 12,345 20 0.00042"
    )
    assert "Recsys/Rank 5 RESOURCE_EXHAUSTED 4 OVERLOAD 1 QUOTA" in " ".join(printed.split())
    assert rows["ranker.fp32@cpu"] == "ranker.fp32@cpu 3 4.50 ms 2.5 250.0 2 1 links"
    assert rows["recsys-0"] == ("recsys-0 silent cpu 100 250 3 180 µs ranker.fp32@cpu 0.12 ms + 7.9 µs a unit ± 20 %")
    assert rows["backend"] == "backend gold, standard 80.0/s 200/s 3 100 shared 4 QUOTA"
    assert rows["reports"] == "reports batch 0.0/s - - - - -"


def test_it_says_where_requests_were_sent_and_what_came_of_that(
    admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each lane of a route with its share, the planner's reasons, and what was foretold against what came."""
    assert run("status", "--once", "--admin", admin.address) == 0
    printed = capsys.readouterr().out
    assert "second attempts  12 made, 2 denied · hedges 9 made, 7 won, 1 denied" in printed
    rows = [" ".join(line.split()) for line in printed.splitlines()]
    assert "Recsys/Rank ranker.int8@cpu 75.0 % cheapest 90 %, late 10 % 1.04 99.89 % 3.10 ms 6.02 ms" in rows
    assert "ranker.fp32@cuda 25.0 % cheapest - - - -" in rows


def test_eighty_columns_are_enough(
    admin: Admin, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is cut, and no line is longer than the terminal: what has no room beside stands below."""
    monkeypatch.setattr(screen.out, "_force_terminal", True)
    monkeypatch.setenv("COLUMNS", "80")
    assert run("status", "--once", "--admin", admin.address) == 0
    lines = [Text.from_ansi(line).plain for line in capsys.readouterr().out.splitlines()]
    assert max(map(len, lines)) <= 80
    rows = [" ".join(line.split()) for line in lines]
    assert not any("…" in row for row in rows)
    assert "Recsys/Rank 99.899 % 99.9 % 2.35 ms 11.3 ms 15 ms 321/s 20" in rows
    assert rows[rows.index("Recsys/Rank 0.00042 5 RESOURCE_EXHAUSTED 4 OVERLOAD") + 1] == "1 QUOTA"
    assert rows[rows.index("ranker.int8@cpu 75.0 % 1.04 99.89 % 3.10 ms 6.02 ms") + 1] == "cheapest 90 %, late 10 %"
    assert "recsys-0 silent cpu 100 250 3 180 µs" in rows
    assert "recsys-0 ranker.fp32@cpu 0.12 ms + 7.9 µs a unit ± 20 %" in rows


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"mesh": None, "router": None, "routes": None, "lanes": {}, "nodes": [None, 3]},
        {"routes": [{}], "lanes": [{}], "nodes": [{}], "router": {}, "redis": {}},
        {"routes": [{"lanes": [{}, None, {"why": {"late": None}, "requests": "many"}]}, {"lanes": 3, "refused": []}]},
        {"router": {"second_attempts": {"made": "some"}}, "lanes": [{"wait_ms": "long", "standing_back": "yes"}]},
        {"routes": [{"p50_ms": None, "attainment": None, "errors": None, "news": 1}], "weather": "fine"},
        {"nodes": [{"latency": {"a@b": None, "c@d": {}}, "rtt_us": "fast"}], "lanes": [{"nodes": ["a", "b"]}]},
    ],
)
def test_missing_and_unknown_fields_do_no_harm(
    admin: Admin, capsys: pytest.CaptureFixture[str], status: dict[str, Any]
) -> None:
    """An older or newer router is shown as far as it goes."""
    admin.status = status
    assert run("status", "--once", "--admin", admin.address) == 0
    assert "route" in capsys.readouterr().out


def test_nobody_there_and_somebody_else_there(admin: Admin, capsys: pytest.CaptureFixture[str]) -> None:
    """One line each, exit code 9."""
    assert run("status", "--once", "--admin", "127.0.0.1:1") == 9
    assert "nothing answers at http://127.0.0.1:1/status" in capsys.readouterr().err
    admin.status = ["not", "a", "status"]
    assert run("status", "--once", "--admin", admin.address) == 9
    assert "is not a router's status" in capsys.readouterr().err


async def test_readiness_is_waited_for(admin: Admin) -> None:
    """Until /readyz says 200, and no longer than told."""
    await wait_ready(url_of(admin.address), timeout_s=5)
    assert admin.readyz == []
    admin.readyz = [503] * 1000
    with pytest.raises(Unavailable, match=r"not ready within 0\.1 s: .*503 no route has a node"):
        await wait_ready(url_of(admin.address), timeout_s=0.1)
