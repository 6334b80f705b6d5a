"""The console over HTTP: its page, the page's files, and the data that it shows."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from aiohttp import web

from isochrone import wall
from isochrone.config import RouteConfig
from isochrone_router.console.part import FORMAT, OwnPart, Part
from isochrone_router.console.siblings import Answer, Missing, Sibling, ask_all
from isochrone_router.console.whole import Whole
from isochrone_router.history import STEP_S, STEPS
from isochrone_router.status import RouterStatus
from isochrone_router.tally import Tally

CONTENT_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")


class Console:
    """GET / and /console: the page. /console/…: its files. /console.json: what it shows, of the whole router.

    `/console.json?after=N` leaves out the steps up to that number; `own=1` has this process's part alone.
    /console/misses and /console/traces/<id> are /misses and /traces/<id> of all processes.
    """

    def __init__(self, status: RouterStatus, tally: Tally, *, processes: Sequence[Sibling] = ()) -> None:
        """`processes` are all of this router, itself included."""
        self._status = status
        self._own = OwnPart(status, tally)
        self._processes = processes
        self._siblings = [process for process in processes if process.name != status.name]
        self._files = page_files()

    def __repr__(self) -> str:
        return f"<Console {self._own!r}, {len(self._siblings)} siblings>"

    def start(self) -> None:
        self._own.start()

    def close(self) -> None:
        self._own.close()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/", self._page),
            web.get("/console", self._page),
            web.get("/console/misses", self._misses),
            web.get("/console/traces/{trace_id}", self._trace),
            web.get("/console/{file:.+}", self._file),
            web.get("/console.json", self._data),
        ]

    async def _page(self, _: web.Request) -> web.Response:
        return self._respond("index.html")

    async def _file(self, request: web.Request) -> web.Response:
        return self._respond(request.match_info["file"])

    def _respond(self, name: str) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound
        content_type = CONTENT_TYPES[name[name.rindex(".") :]]
        return web.Response(body=self._files[name], content_type=content_type, charset="utf-8", headers=HEADERS)

    async def _data(self, request: web.Request) -> web.Response:
        try:
            after = int(request.query.get("after", "-1"))
        except ValueError:
            return web.json_response({"error": "after: should be the number of a step"}, status=400)
        if request.query.get("own"):
            text = self._own.as_text(after=after)
        else:
            text = await self._whole(after)
        return web.Response(text=text, content_type="application/json", headers=HEADERS)

    async def _whole(self, after: int) -> str:
        answers = await ask_all(self._siblings, "/console.json", {"own": "1", "after": str(after)})
        parts: list[Part] = [self._own.as_part(after=after)]
        missing = []
        for sibling, answer in zip(self._siblings, answers, strict=True):
            if isinstance(answer, Missing):
                missing.append(answer._asdict())
            elif answer.get("format") != FORMAT:
                missing.append(Missing(sibling.name, "it is of another version")._asdict())
            else:
                parts.append(answer)
        whole = Whole(parts)
        status = self._status
        told: dict[str, Any] = {
            "mesh": status.mesh,
            "boot": f"{status.boot:016x}",
            "at_ms": wall.now_ns() // 1_000_000,
            "now_s": round(status.clock(), 3),
            "step_s": STEP_S,
            "most_steps": STEPS,
            "steps": whole.steps,
            "processes": sorted((part["process"] for part in parts), key=lambda process: str(process["name"])),
            "missing": missing,
            "lanes": whole.lanes(),
            "nodes": whole.nodes(),
            "callers": whole.callers(),
        }
        text = json.dumps(told, separators=(",", ":"))
        routes = []
        for name in status.chronicle.stats:
            await asyncio.sleep(0)  # a page that opens gets a quarter of an hour of each: requests come in between
            routes.append(json.dumps(whole.route(name, self._config(name)), separators=(",", ":")))
        return f'{text[:-1]},"routes":[{",".join(routes)}]}}'

    async def _misses(self, request: web.Request) -> web.Response:
        answers = await self._of_all("/misses", request.query)
        try:
            limit = int(request.query.get("limit", "100"))
        except ValueError:
            return web.json_response({"error": "limit: should be a number"}, status=400)
        if not any(answers):
            return web.json_response({"error": "no process keeps misses"}, status=404)
        records = [record for answer in answers for record in answer.get("misses", ())]
        records.sort(key=lambda record: str(record["at"]), reverse=True)
        told = {
            "misses": records[:limit],
            "seen": sum(answer.get("seen", 0) for answer in answers),
            "kept": sum(answer.get("kept", 0) for answer in answers),
            "turned_away": sum(answer.get("turned_away", 0) for answer in answers),
        }
        return web.json_response(told, headers=HEADERS)

    async def _trace(self, request: web.Request) -> web.Response:
        trace_id = request.match_info["trace_id"]
        if not _TRACE_ID.fullmatch(trace_id):
            return web.json_response({"error": "a trace id has 32 hex digits"}, status=400)
        answers = await self._of_all(f"/traces/{trace_id}", {})
        records = [record for answer in answers for record in answer.get("requests", ())]
        if not records:
            return web.json_response({"error": "nothing is kept of it"}, status=404)
        return web.json_response({"requests": records}, headers=HEADERS)

    async def _of_all(self, path: str, query: Mapping[str, str]) -> list[Answer]:
        """What the processes that answer say; the page names those that don't. With all others this one asks itself as
        well: what it says over HTTP is what counts."""
        answers = await ask_all(self._processes, path, query)
        return [answer for answer in answers if not isinstance(answer, Missing)]

    def _config(self, route: str) -> RouteConfig | None:
        """None for fan-outs: what they promise is what their slowest leg does."""
        return self._status.routes.get(route)


def page_files() -> Mapping[str, bytes]:
    """What the browser gets, by path."""
    return dict(_files(resources.files("isochrone_router.console") / "page", ""))


def _files(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _files(entry, f"{path}{entry.name}/")
        elif any(entry.name.endswith(suffix) for suffix in CONTENT_TYPES):
            yield f"{path}{entry.name}", entry.read_bytes()
