"""The admin HTTP of routers as the commands read it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isochrone.cli.screen import err
from isochrone.cli.where import usual_file
from isochrone.errors import ConfigError, InvalidRequest, Unavailable

if TYPE_CHECKING:
    from ssl import SSLContext

DEFAULT_URL = "http://127.0.0.1:8080"
_PAUSE_S = 0.02


def url_of(given: str) -> str:
    """ "127.0.0.1:8080" or "http://127.0.0.1:8080/" as the base of URLs."""
    return (given if "://" in given else f"http://{given}").rstrip("/")


def admin_urls(config: Path | None, given: Sequence[str]) -> list[str]:
    """Of every router process that a command means: those given, else those of a mesh's file, else the usual one.
    Raises ConfigError where the file doesn't say."""
    if given:
        if config is not None:
            raise ConfigError("--config and --admin: one of them says where the routers are")
        return [url_of(one) for one in given]
    path = config or usual_file()
    if path is None:
        return [DEFAULT_URL]
    from isochrone.config import load_config
    from isochrone.ports import dialable, nth

    router = load_config(path).router
    if router.admin.startswith("unix:") or router.admin.endswith(":0"):
        raise ConfigError(f"{path}: router.admin: {router.admin} can't be asked from here; say where with --admin")
    addresses = (dialable(nth(router.admin, index)) for index in range(router.processes))
    return [url_of(f"{router.admin_scheme}://{address}") for address in addresses]


def ask_all(
    bases: Sequence[str], path: str, *, trust: SSLContext | None = None, timeout_s: float = 5.0
) -> list[dict[str, Any]]:
    """What those routers say that know something: who says 404 doesn't. Who doesn't answer is named on stderr.

    Raises InvalidRequest with the router's own words where the question was wrong, Unavailable where nobody answers.
    """
    from concurrent.futures import ThreadPoolExecutor

    def ask(base: str) -> dict[str, Any] | Unavailable | None:
        try:
            code, body = _get(f"{base}{path}", timeout_s, trust)
            found = _object(body)
            if code == 200 and found is not None:
                return found
            sentence = "" if found is None else str(found.get("error", ""))
            if code == 404 and sentence:
                return None
            if code == 400 and sentence:
                raise InvalidRequest(sentence)
            return Unavailable(f"{base}{path} says {code} {_start(body)}")
        except Unavailable as error:
            return error

    with ThreadPoolExecutor(len(bases)) as pool:
        answers = list(pool.map(ask, bases))
    failures = [answer for answer in answers if isinstance(answer, Unavailable)]
    if len(failures) == len(bases):
        raise failures[0]
    for failure in failures:
        err.print(failure.message, style="yellow", markup=False, soft_wrap=True)
    return [answer for answer in answers if isinstance(answer, dict)]


def fetch_status(base: str, *, trust: SSLContext | None = None, timeout_s: float = 2.0) -> dict[str, Any]:
    """What GET /status says. Raises Unavailable where nothing, or something else, answers there."""
    body = _got(f"{base}/status", timeout_s, trust)
    found = _object(body)
    if found is None:
        raise Unavailable(f"{base}/status is not a router's status: {body[:60]!r}")
    return found


async def wait_ready(base: str, *, timeout_s: float, trust: SSLContext | None = None) -> None:
    """Waits until GET /readyz says 200. Raises Unavailable with its last answer."""
    import asyncio

    loop = asyncio.get_running_loop()
    until = loop.time() + timeout_s
    while True:
        try:
            await asyncio.to_thread(_got, f"{base}/readyz", 1.0, trust)
            return
        except Unavailable as error:
            if loop.time() >= until:
                raise Unavailable(f"the router was not ready within {timeout_s:g} s: {error.message}") from None
        await asyncio.sleep(_PAUSE_S)


def _got(url: str, timeout_s: float, trust: SSLContext | None) -> bytes:
    """Raises Unavailable for anything but a 200."""
    code, body = _get(url, timeout_s, trust)
    if code != 200:
        raise Unavailable(f"{url} says {code} {_start(body)}")
    return body


def _get(url: str, timeout_s: float, trust: SSLContext | None) -> tuple[int, bytes]:
    """Status and body. Raises Unavailable where nothing answers."""
    import http.client
    from urllib.error import HTTPError
    from urllib.request import HTTPSHandler, ProxyHandler, build_opener

    try:
        # No proxies: an admin is on this machine or near.
        with build_opener(ProxyHandler({}), HTTPSHandler(context=trust)).open(url, timeout=timeout_s) as answer:
            return answer.status, bytes(answer.read())
    except HTTPError as error:
        with error:
            return error.code, error.read(2000)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if told := _refused(reason, tls=url.startswith("https:")):
            raise Unavailable(f"{url}: {told}") from None
        raise Unavailable(f"nothing answers at {url} ({reason}); is the mesh up? isochrone up") from None


def _refused(reason: object, *, tls: bool) -> str:
    """Why somebody who is there won't talk to us, or we to them; empty where that isn't it."""
    import http.client
    import ssl

    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate isn't believed here ({reason.verify_message}); --ca says whose are"
    if isinstance(reason, ssl.SSLError):
        return f"no TLS with it: {(reason.reason or str(reason)).lower()}"
    if isinstance(reason, http.client.RemoteDisconnected | ConnectionResetError):
        wanted = "a certificate of a CA that is believed there, --certificate and --key" if tls else "https://"
        return f"it hung up; does it want {wanted}?"
    return ""


def _object(body: bytes) -> dict[str, Any] | None:
    """A JSON object; None where it is anything else."""
    try:
        found = json.loads(body)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _start(body: bytes) -> str:
    return body[:200].decode(errors="replace").strip()
