"""`isochrone misses` and `isochrone explain`: what the routers of a mesh remember, merged and in plain words."""

from __future__ import annotations

import asyncio
import http.server
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from rich.console import Console

from conftest import StartMesh
from harness import Mesh
from isochrone.cli import main
from isochrone.cli.admin import DEFAULT_URL, admin_urls
from isochrone.cli.explain_view import explained
from isochrone.cli.in_words import sentence
from isochrone.cli.misses import seconds
from isochrone.cli.misses_view import view
from isochrone.cli.record import Record
from isochrone.client import Leg
from isochrone.errors import ConfigError, IsochroneError
from isochrone.ports import a_free_one, nth
from isochrone.testing.models import ECHO, SLEEP
from isochrone.testing.v1.toy_pb2 import ToyMessage

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
MISS: dict[str, Any] = {
    "trace_id": TRACE,
    "route": "isochrone.v1.Recsys/Rank",
    "leg": "",
    "code": "OK",
    "reason": "",
    "verdict": "missed",
    "at": "2026-11-23T02:00:00.123Z",
    "tier": "standard",
    "router": "router-0",
    "objective_ms": 15.0,
    "deadline_ms": 100.0,
    "total_ms": 21.3,
    "first_ms": None,
    "blame": "queue",
    "stages": [["admit", 0.2], ["queue", 15.1], ["batch_wait", 1], ["compute", 4], ["link", 0.5], ["answer", 0.5]],
    "lane": "ranker.fp32@cpu",
    "node": "recsys-0",
    "attempts": 1,
    "direct": False,
    "batch": {"jobs": 3, "units": 90, "closed_by": "full"},
    "units": 30,
    "chunks": 0,
    "tries": [],
    "starts_ms": 0.0,
    "legs": [],
    "jaeger": None,
}


def record(**changes: Any) -> Record:
    return Record.of(MISS | changes)


def drawn(renderable: object, *, width: int = 130) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Late by 6.3 ms: queue took 15.1 ms, waiting in its lane until a node was free to claim it."),
        ({"direct": True}, "Late by 6.3 ms: queue took 15.1 ms, on its way over the link."),
        (
            {"blame": "compute"},
            "Late by 6.3 ms: compute took 4.0 ms, in the forward call of its batch of 3 requests, 90 units.",
        ),
        ({"blame": None}, "Late by 6.3 ms."),
        (
            {"verdict": "met", "total_ms": 7.0, "blame": None},
            "In time, with 8.0 ms to spare; queue took most, 15.1 ms.",
        ),
        ({"verdict": "met", "total_ms": 7.0, "stages": []}, "In time, with 8.0 ms to spare."),
        (
            {"verdict": "cancelled", "stages": [["admit", 0.1], ["queue", 9]]},
            "Its caller left after 21.3 ms, in queue.",
        ),
        (
            {"verdict": "failed", "code": "RESOURCE_EXHAUSTED", "reason": "QUEUE_FULL", "blame": None, "total_ms": 0.1},
            "Failed after 0.10 ms with RESOURCE_EXHAUSTED, QUEUE_FULL.",
        ),
        (
            {"verdict": "failed", "code": "RESOURCE_EXHAUSTED", "reason": "OVERLOAD", "blame": None, "total_ms": 0.1}
            | {"attempts": 0, "decision": {"why": "OVERLOAD", "expected_ms": 23.0, "retry_after_ms": 8.0}},
            "Failed after 0.10 ms with RESOURCE_EXHAUSTED, OVERLOAD. It would have taken 23.0 ms; there is room again "
            "in 8.0 ms.",
        ),
        (
            {"decision": {"why": "late", "expected_ms": 20.0}, "blame": None},
            "Late by 6.3 ms, as it was planned.",
        ),
        (
            {"verdict": "failed", "code": "DEADLINE_EXCEEDED", "reason": "DEADLINE_EXCEEDED", "total_ms": 99.5},
            "Failed after 99.5 ms with DEADLINE_EXCEEDED: queue took 15.1 ms, waiting in its lane until a node was "
            "free to claim it.",
        ),
        (
            # Until its first chunk: what came after it is not what it is late for.
            {"first_ms": 18.3, "chunks": 4, "total_ms": 90.0, "blame": "compute"},
            "Late by 3.3 ms: compute took 2.0 ms, in the forward call of its batch of 3 requests, 90 units.",
        ),
        (
            {"stages": [], "total_ms": 30.0, "blame": "queue", "legs": [MISS | {"leg": "shelf"}]},
            "Late by 15.0 ms: leg shelf took 21.3 ms; there, queue took 15.1 ms, waiting in its lane until a node was "
            "free to claim it.",
        ),
        ({"stages": [], "total_ms": 9.0, "legs": [MISS | {"leg": "a", "blame": None}]}, "Late: leg a took 21.3 ms."),
        (
            {"stages": [], "verdict": "failed", "code": "UNAVAILABLE", "legs": [MISS | {"leg": "a", "blame": None}]},
            "Failed after 21.3 ms with UNAVAILABLE: leg a took 21.3 ms.",
        ),
    ],
)
def test_what_became_of_it_in_a_sentence(changes: dict[str, Any], said: str) -> None:
    """With the stage that is to blame, and what it was about."""
    assert sentence(record(**changes)) == said


def test_it_is_drawn_with_the_blamed_stage_marked() -> None:
    """One stage is, and only that; what was tried and where the trace is comes below."""
    tries = [{"node": "", "ms": 12.0, "why": "its node is gone"}]
    text = drawn(explained(record(tries=tries, jaeger=f"http://jaeger/trace/{TRACE}", tier="gold", attempts=2)))
    (blamed,) = [line for line in text.splitlines() if line.endswith("to blame")]
    assert blamed.split()[0] == "queue"
    assert "21.30 ms of 15 ms  missed  (deadline 100 ms)" in text
    assert "gold" in text.splitlines()[0]
    assert "Attempt 1, in its lane, was given up after 12.0 ms: its node is gone." in text
    assert text.splitlines()[-1] == f"http://jaeger/trace/{TRACE}"
    hedged = drawn(explained(record(tries=tries, attempts=2, won=1)))
    assert "was given up after 12.0 ms, and answered all the same: its node is gone." in hedged


def test_a_pages_legs_share_its_axis() -> None:
    """Each below the whole, further right the later it began."""
    legs = [
        MISS | {"leg": "labels", "starts_ms": 0.0},
        MISS | {"leg": "text", "starts_ms": 40.0, "verdict": "met", "blame": None},
    ]
    text = drawn(explained(record(route="isochrone.v1.Router/FanOut", stages=[], batch=None, legs=legs)))
    assert "    labels  Recsys/Rank  from 0.00 ms on" in text
    assert "    text  Recsys/Rank  from 40.0 ms on" in text
    queues = [line for line in text.splitlines() if line.split()[:1] == ["queue"]]
    assert [line.startswith("    ") for line in queues] == [True, True]
    assert queues[1].index("█") > queues[0].index("█") + 20


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"stages": None, "legs": {}, "tries": [None, 3, {}], "batch": 7, "at": "noon", "blame": "weather"},
        {"stages": [["admit"], 3, ["news", "fast"], ["queue", -1], ["queue", 1e300]], "total_ms": float("nan")},
        {"verdict": "misplaced", "attempts": True, "legs": [{}], "news": 1},
        {"decision": {"why": 7, "expected_ms": "soon", "target": -1, "cost": 1e300}, "won": None, "attempts": 1},
        {"decision": "late", "won": -1, "caller": 3},
    ],
)
def test_missing_and_unknown_fields_do_no_harm(told: dict[str, Any]) -> None:
    """An older or newer router is shown as far as it goes."""
    drawn(explained(Record.of(told)))
    drawn(view([Record.of(told)], limit=9, seen=1, since="10m", route=""))


def test_misses_are_listed_and_summed_up() -> None:
    """All by route and blame, the latest in a line each; and said where not all are kept."""
    failed = MISS | {"verdict": "failed", "code": "RESOURCE_EXHAUSTED", "reason": "QUEUE_FULL", "blame": None}
    misses = [record(), record(leg="shelf"), Record.of(failed)]
    text = drawn(view(misses, limit=2, seen=5000, since="10m", route=""))
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert rows[0] == "5,000 misses in the last 10m; of the last 3 there is more to tell"
    assert "isochrone.v1.Recsys/Rank 3 queue 2 · QUEUE_FULL 1" in rows
    assert len([row for row in rows if row.endswith(TRACE)]) == 2
    assert any(f"Recsys/Rank shelf 21.3 ms 15 ms queue ranker.fp32@cpu recsys-0 {TRACE}" in row for row in rows)
    assert rows[-1] == "and 1 more: --limit"
    none = drawn(view([], limit=2, seen=0, turned_away=1234, since="10m", route=""))
    assert none.split("\n")[:2] == ["no misses in the last 10m", "and 1,234 turned away: nobody known, or past a quota"]
    late = record(decision={"why": "late"})
    assert "queue (planned late)" in drawn(view([late], limit=2, seen=1, since="10m", route=""))
    narrow = drawn(view(misses, limit=2, seen=3, since="10m", route=""), width=80)
    assert narrow.count(TRACE) == 2
    assert "recsys-0" not in narrow


@pytest.mark.parametrize(("since", "value"), [("90s", 90), ("10m", 600), ("2h", 7200), ("0.5m", 30)])
def test_since_when(since: str, value: float) -> None:
    assert seconds(since) == value


@pytest.mark.parametrize("since", ["10", "m", "10 m", "-5m", "0s", "3h", "1d", "nans", "²m"])
def test_a_time_that_is_none(since: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, with what would be right."""
    assert run("misses", f"--since={since}") == 2
    assert "2h" in capsys.readouterr().err


def test_where_the_routers_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As given, by the mesh's file with all its processes, by the file of this folder, or where they usually are."""
    monkeypatch.chdir(tmp_path)
    assert admin_urls(None, ()) == [DEFAULT_URL]
    assert admin_urls(None, ["a:1", "http://b:2/"]) == ["http://a:1", "http://b:2"]
    settings = {"routes": {ECHO: {"objective_ms": 5, "deadline_ms": 50, "lanes": ["echo@cpu"]}}}
    for admin, urls in (("0.0.0.0:90", ["http://127.0.0.1:90", "http://127.0.0.1:91"]), ("unix:/a", []), ("a:0", [])):
        (tmp_path / "mesh.yaml").write_text(yaml.safe_dump(settings | {"router": {"admin": admin, "processes": 2}}))
        if urls:
            assert admin_urls(None, ()) == admin_urls(tmp_path / "mesh.yaml", ()) == urls
        else:
            with pytest.raises(ConfigError, match=r"router\.admin: .* say where with --admin"):
                admin_urls(None, ())
    tls = {"certificate": "a.crt", "key": "a.key"}
    for admin, urls in (("0.0.0.0:90", ["https://127.0.0.1:90"]), ("[::]:90", ["https://[::1]:90"])):
        (tmp_path / "mesh.yaml").write_text(yaml.safe_dump(settings | {"router": {"admin": admin, "admin_tls": tls}}))
        assert admin_urls(None, ()) == urls
    with pytest.raises(ConfigError, match="--config and --admin"):
        admin_urls(tmp_path / "mesh.yaml", ["a:1"])


class Admin:
    """A router's admin HTTP with what a test wants it to say, and what it was asked."""

    def __init__(self, code: int, body: str) -> None:
        admin = self
        self.asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                admin.asked.append(self.path)
                self.send_response(code)
                self.send_header("Content-Length", str(len(body.encode())))
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None: ...

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.address = f"127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def admins() -> Iterator[Any]:
    made: list[Admin] = []

    def make(said: Any, code: int = 200) -> Admin:
        made.append(Admin(code, said if isinstance(said, str) else json.dumps(said)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return int(left.value.code or 0)


def test_several_routers_are_one(admins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest of all first, counts added up; one that is away is named, and the others are told of."""
    later = MISS | {"at": "2026-11-23T02:00:01.000Z", "router": "router-1"}
    one = admins({"misses": [MISS], "seen": 1, "kept": 1})
    other = admins({"misses": [later], "seen": 41, "kept": 1, "turned_away": 7})
    asked = ("--admin", one.address, "--admin", other.address, "--admin", "127.0.0.1:1")
    assert run("misses", *asked, "--since", "90s", "--route", "Rank", "--json", "--limit", "7") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"misses": [later, MISS], "seen": 42, "kept": 2, "turned_away": 7}
    assert "nothing answers at http://127.0.0.1:1/misses" in printed.err
    query = parse_qs(urlsplit(one.asked[0]).query)
    assert query == {"since_s": ["90.0"], "limit": ["7"], "route": ["Rank"]}
    assert run("misses", *asked) == 0
    assert "42 misses in the last 10m" in capsys.readouterr().out


def test_a_trace_that_one_of_them_knows(admins: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """The other's 404 is no trouble; where nobody knows it, exit code 1."""
    knows, knows_not = admins({"requests": [MISS]}), admins({"error": "nothing is kept of it"}, 404)
    assert run("explain", TRACE.upper(), "--admin", knows_not.address, "--admin", knows.address) == 0
    printed = capsys.readouterr()
    assert "queue took 15.1 ms" in printed.out
    assert printed.err == ""
    assert knows.asked == [f"/traces/{TRACE}"]
    assert run("explain", TRACE, "--admin", knows.address, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"requests": [MISS]}
    assert run("explain", TRACE, "--admin", knows_not.address) == 1
    assert capsys.readouterr().err == f"nothing is kept of trace {TRACE}\n"


@pytest.mark.parametrize(
    ("said", "code", "exit_code", "words"),
    [
        ("404: Not Found", 404, 9, "says 404 404: Not Found"),
        ('["no", "object"]', 200, 9, "says 200"),
        ({"error": "route=X: there is Y"}, 400, 3, "invalid request: route=X: there is Y"),
        ("", 500, 9, "says 500"),
    ],
)
def test_who_answers_something_else(
    admins: Any, capsys: pytest.CaptureFixture[str], said: Any, code: int, exit_code: int, words: str
) -> None:
    """A router too old for this, somebody else's server, or a question that is wrong: a line, no traceback."""
    assert run("misses", "--admin", admins(said, code).address) == exit_code
    printed = capsys.readouterr().err
    assert words in printed
    assert "Traceback" not in printed


def test_nobody_there_and_no_trace_id(capsys: pytest.CaptureFixture[str]) -> None:
    """As `status` has it: exit code 9."""
    for command in (["misses"], ["explain", TRACE]):
        assert run(*command, "--admin", "127.0.0.1:1") == 9
        assert "is the mesh up?" in capsys.readouterr().err
    for wrong in (TRACE[:-1], TRACE + "0", "g" * 32):
        assert run("explain", wrong) == 2
        assert f"'{wrong}' is no" in capsys.readouterr().err


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "isochrone.cli", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, check=False, timeout=60)


def toy(units: int = 1) -> bytes:
    return ToyMessage(units=units).SerializeToString()


async def busy(running: Mesh) -> str:
    """Answers one page, and lets many requests be late, at both routers. The page's trace."""
    clients = [running.client() for _ in range(8)]
    legs = {"quick": Leg(ECHO, toy()), "slow": Leg(SLEEP, toy())}
    page = await clients[0].fan_out(legs, timeout_s=5)
    requests = (client.call(SLEEP, toy(), timeout_s=5) for client in clients for _ in range(4))
    assert not [one for one in await asyncio.gather(*requests) if isinstance(one, IsochroneError)]
    assert page.budget is not None
    return page.budget.trace_id


@pytest.mark.processes
async def test_a_real_mesh_is_asked(mesh: StartMesh, tmp_path: Path) -> None:
    """Two router processes: none missed at first; then all misses of both, a page's tree, and a call's own trace."""
    admin = a_free_one()
    router = {"processes": 2, "listen": a_free_one(), "admin": admin}
    running = await mesh(router=router, nodes=1, route={"objective_ms": 1, "deadline_ms": 5000})
    file = str(tmp_path / "mesh.yaml")
    none = command("misses", "--config", file)
    assert (none.returncode, none.stdout) == (0, "no misses in the last 10m\n"), none.stderr

    page = await busy(running)
    told = json.loads(command("misses", "--config", file, "--route", "Sleep", "--json", "--limit", "1000").stdout)
    assert told["seen"] == told["kept"] == len(told["misses"]) == 33
    assert {miss["verdict"] for miss in told["misses"]} == {"missed"}
    of_one = json.loads(command("misses", "--admin", nth(admin, 1), "--route", "Sleep", "--json").stdout)
    assert of_one["seen"] == len([miss for miss in told["misses"] if miss["router"] == "router-1"])
    table = command("misses", "--config", file)
    assert "misses in the last 10m" in table.stdout
    assert told["misses"][0]["trace_id"] in table.stdout

    tree = command("explain", page, "--config", file)
    assert tree.returncode == 0, tree.stderr
    for words in ("isochrone.v1.Router/FanOut", "    quick  Toy/Echo", "    slow  Toy/Sleep", "to blame", "Late by"):
        assert words in tree.stdout

    called = command("call", "Toy/Sleep", "--target", running.router.address, "--budget")
    assert called.returncode == 0, called.stderr
    again = called.stderr.splitlines()[-1].split()
    assert again[:2] == ["isochrone", "explain"]
    explained_again = command("explain", again[2], "--config", file)
    assert (explained_again.returncode, "compute" in explained_again.stdout) == (0, True), explained_again.stderr
