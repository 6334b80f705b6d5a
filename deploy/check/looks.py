"""What is looked at once the mesh runs: a page and its trace, metrics, dashboards, and what containers may do."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from opentelemetry import trace

from deploy.check.composed import Composed
from deploy.check.engine import CheckFailed
from isochrone.cli.product_page import PageSoFar, page_legs, turn
from isochrone.cli.shop import Shop, photos
from isochrone.client import Client
from isochrone.config import load_config
from isochrone.errors import IsochroneError

ROUTERS = ("127.0.0.1:50051", "127.0.0.1:50052")
JAEGER, PROMETHEUS, GRAFANA = "http://127.0.0.1:16686", "http://127.0.0.1:9090", "http://127.0.0.1:3000"
SERVICES = {"isochrone-router", "isochrone-recsys", "isochrone-vision", "isochrone-llm"}
T = TypeVar("T")

OWN = ("router-a", "router-b", "recsys", "vision", "llm")

_MAY_NOT = """
import os, sys
try:
    open("/opt/isochrone/written", "w")
except OSError as error:
    print(os.getuid(), error.strerror)
"""
_WITHOUT = """
from importlib.util import find_spec
print(*(name for name in ("torch", "onnxruntime", "numpy") if find_spec(name)))
"""


def page(models: Path, mesh: Path, *, within_s: float) -> tuple[str, PageSoFar]:
    """A whole page of the mesh, asked for from this machine until it comes; the id of its trace with it.

    Raises CheckFailed."""
    config = load_config(mesh).model_copy(update={"models": models})
    legs = page_legs(config.routes, ranking=Shop.of(config).a_request(100), image=photos(config)[0])
    until_s = time.monotonic() + within_s

    async def asked(trace_id: int) -> PageSoFar:
        context = trace.SpanContext(
            trace_id, secrets.randbits(64) | 1, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED)
        )
        async with Client(ROUTERS) as client:
            with trace.use_span(trace.NonRecordingSpan(context)):
                return await turn(client, legs, timeout_s=10)

    while True:
        trace_id = secrets.randbits(128) | 1
        try:
            answered = asyncio.run(asked(trace_id))
            if answered.complete:
                return f"{trace_id:032x}", answered
            problem = str({name: leg.outcome for name, leg in answered.ended.items()})
        except IsochroneError as error:
            problem = str(error)
        if time.monotonic() > until_s:
            raise CheckFailed(f"no page: {problem}")
        time.sleep(0.2)


def traced(trace_id: str) -> set[str]:
    """The services with spans in a trace, waited for. Raises CheckFailed where one is missing."""

    def services() -> set[str]:
        found = _get(f"{JAEGER}/api/traces/{trace_id}")["data"]
        return {process["serviceName"] for process in found[0]["processes"].values()} if found else set()

    return _until(services, lambda found: found >= SERVICES, f"spans of {', '.join(sorted(SERVICES))} in one trace")


def scraped() -> float:
    """How many requests Prometheus knows of, both routers' targets being up. Raises CheckFailed."""

    def value(query: str) -> float:
        result = _get(f"{PROMETHEUS}/api/v1/query?{urlencode({'query': query})}")["data"]["result"]
        return float(result[0]["value"][1]) if result else 0.0

    _until(lambda: value('sum(up{job="isochrone"})'), lambda up: up == 2, "both routers scraped by Prometheus")
    return _until(lambda: value("sum(isochrone_requests_total)"), lambda count: count > 0, "requests in Prometheus")


def provisioned() -> tuple[int, int]:
    """How many data sources and dashboards Grafana has. Raises CheckFailed."""
    sources, boards = _get(f"{GRAFANA}/api/datasources"), _get(f"{GRAFANA}/api/search?type=dash-db")
    if len(sources) != 2 or len(boards) != 4:
        raise CheckFailed(f"Grafana has {sources} and {boards}")
    return len(sources), len(boards)


def locked(composed: Composed) -> None:
    """Neither root, nor able to write, nor reached from elsewhere; Redis lets nobody in without a password.

    Raises CheckFailed."""
    for name in OWN:
        _, said = composed.execute(name, "python", "-c", _MAY_NOT)
        if said.strip() != "10001 Read-only file system":
            raise CheckFailed(f"{name} may too much: {said!r}")
    if (found := composed.execute("router-a", "python", "-c", _WITHOUT)[1].strip()) != "":
        raise CheckFailed(f"the router's image has {found}")
    for name in composed.services:
        if public := [address for address in composed.published(name) if not address.startswith("127.0.0.1:")]:
            raise CheckFailed(f"{name} listens at {public}")
    _, said = composed.execute("redis", "redis-cli", "ping")
    if "NOAUTH" not in said:
        raise CheckFailed(f"Redis says {said!r} to somebody without a password")


def demo_sends(composed: Composed) -> str:
    """The first line of the demo's traffic. Raises CheckFailed."""
    return _until(lambda: composed.log("demo"), lambda log: " rankings, " in log, "a line of the demo").splitlines()[0]


def _get(url: str) -> Any:
    with urlopen(url, timeout=5) as answer:
        return json.load(answer)


def _until(look: Callable[[], T], is_so: Callable[[T], bool], what: str, *, within_s: float = 60.0) -> T:
    until_s = time.monotonic() + within_s
    while True:
        try:
            if is_so(seen := look()):
                return seen
        except (URLError, ConnectionError) as error:
            seen = error  # type: ignore[assignment]
        if time.monotonic() > until_s:
            raise CheckFailed(f"there should be {what}, and was {seen!r}")
        time.sleep(0.5)
