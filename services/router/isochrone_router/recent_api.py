"""Requests that are over, over HTTP: the misses of the last while, and what is kept of a trace."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Collection, Sequence

from aiohttp import web

from isochrone import wall
from isochrone.deadline import Clock
from isochrone_router.past import Past
from isochrone_router.recent import COUNTED_S, Recent
from isochrone_router.record import Records

SINCE_S, LIMIT = 600.0, 100
"""What is told where nobody says."""
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_AT_ONCE = 4
"""Records made in one turn of the event loop: some 0.2 ms. Requests come first."""


class RecentApi:
    """GET /misses?since_s=600&limit=100&route=… and GET /traces/<trace id>."""

    def __init__(self, recent: Recent, records: Records, *, routes: Collection[str], clock: Clock) -> None:
        self._recent = recent
        self._records = records
        self._routes = routes
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/misses", self._misses), web.get("/traces/{trace_id}", self._trace)]

    async def _misses(self, request: web.Request) -> web.Response:
        query = request.query
        try:
            since_s = _seconds(query.get("since_s", str(SINCE_S)))
            limit = _count(query.get("limit", str(LIMIT)))
            routes = self._meant(query["route"]) if query.get("route") else None
        except ValueError as error:
            return _error(400, str(error))
        found = self._recent.misses(since_s, limit=limit, routes=routes)
        records = await self._made(found.newest)
        counts = f'"seen": {found.seen}, "kept": {found.kept}, "turned_away": {found.turned_away}'
        return _json(f'{{"misses": [{records}], {counts}}}')

    async def _trace(self, request: web.Request) -> web.Response:
        trace_id = request.match_info["trace_id"]
        if not _TRACE_ID.fullmatch(trace_id):
            return _error(400, f"{trace_id[:64]!r} is no trace id: those have 32 hex digits")
        found = self._recent.of_trace(int(trace_id, 16))
        if not found:
            return _error(404, f"nothing is kept of trace {trace_id}")
        return _json(f'{{"requests": [{await self._made([(past, past) for past in found])}]}}')

    async def _made(self, pasts: Sequence[tuple[Past, Past]]) -> str:
        """Records of requests and the wholes that they are of, strung together."""
        offset_ns = wall.offset_ns(self._clock)
        made = []
        for number, (past, whole) in enumerate(pasts, 1):
            made.append(json.dumps(self._records.of(past, whole=whole, offset_ns=offset_ns)))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return ", ".join(made)

    def _meant(self, given: str) -> Collection[str]:
        """Routes by their full name or its end. Raises ValueError where there is none."""
        found = [route for route in self._routes if route == given or route.endswith((f".{given}", f"/{given}"))]
        if not found:
            raise ValueError(f"route={given[:200]}: there is {', '.join(self._routes)}")
        return found


def _seconds(given: str) -> float:
    """Raises ValueError, with a sentence."""
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= COUNTED_S:
        raise ValueError(f"since_s={given[:40]}: seconds, more than 0 and at most {COUNTED_S:.0f}")
    return seconds


def _count(given: str) -> int:
    """Raises ValueError, with a sentence."""
    if not _NUMBER.fullmatch(given):
        raise ValueError(f"limit={given[:40]}: how many at most, from 0 on")
    return int(given)


def _json(text: str, *, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="application/json")


def _error(status: int, sentence: str) -> web.Response:
    return _json(json.dumps({"error": sentence}), status=status)
