"""The router's admin HTTP as the commands read it: /status and /readyz."""

from __future__ import annotations

import json
from typing import Any

from isochrone.errors import Unavailable

DEFAULT_URL = "http://127.0.0.1:8080"
_PAUSE_S = 0.02


def url_of(given: str) -> str:
    """ "127.0.0.1:8080" or "http://127.0.0.1:8080/" as the base of URLs."""
    return (given if "://" in given else f"http://{given}").rstrip("/")


def fetch_status(base: str, *, timeout_s: float = 2.0) -> dict[str, Any]:
    """What GET /status says. Raises Unavailable where nothing, or something else, answers there."""
    body = _get(f"{base}/status", timeout_s)
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Unavailable(f"{base}/status is not a router's status: {body[:60]!r}")
    return found


async def wait_ready(base: str, *, timeout_s: float) -> None:
    """Waits until GET /readyz says 200. Raises Unavailable with its last answer."""
    import asyncio

    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while True:
        try:
            await asyncio.to_thread(_get, f"{base}/readyz", 1.0)
            return
        except Unavailable as error:
            if loop.time() >= until:
                raise Unavailable(f"the router was not ready within {timeout_s:g} s: {error.message}") from None
        await asyncio.sleep(_PAUSE_S)


def _get(url: str, timeout_s: float) -> bytes:
    import http.client
    from urllib.error import HTTPError
    from urllib.request import ProxyHandler, build_opener

    try:
        # No proxies: an admin is on this machine or near.
        with build_opener(ProxyHandler({})).open(url, timeout=timeout_s) as answer:
            return bytes(answer.read())
    except HTTPError as error:
        with error:
            said = error.read(200).decode(errors="replace").strip()
        raise Unavailable(f"{url} says {error.code} {said}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise Unavailable(f"nothing answers at {url} ({reason}); is the mesh up? isochrone up") from None
