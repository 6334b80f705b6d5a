"""Health, readiness, metrics and status over HTTP."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

from aiohttp import web

from isochrone_router import readings
from isochrone_router.prometheus import CONTENT_TYPE, exposition
from isochrone_router.status import RouterStatus


class Admin:
    """The admin port. GET /healthz: the process runs. /readyz: it can answer. /metrics: Prometheus. /status: JSON."""

    def __init__(
        self, status: RouterStatus, *, is_ready: Callable[[], bool], more: Sequence[web.RouteDef] = ()
    ) -> None:
        """`more` is answered as well."""
        self._status = status
        self._is_ready = is_ready
        self._more = more
        self._runner: web.AppRunner | None = None

    async def start(self, listen: str, *, tls: ssl.SSLContext | None = None, beside: str | None = None) -> str:
        """Serves, with TLS unless on a Unix socket, and without it at the socket `beside`. Gives the address with the
        port that was really taken. Raises OSError where one is in use."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._show_status),
                *self._more,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        address = listen
        if listen.startswith("unix:"):
            await web.UnixSite(self._runner, listen.removeprefix("unix:")).start()
        else:
            host, _, port = listen.rpartition(":")
            await web.TCPSite(self._runner, host.strip("[]"), int(port), ssl_context=tls).start()
            address = f"{host}:{self._runner.addresses[0][1]}"
        if beside is not None:
            await web.UnixSite(self._runner, beside.removeprefix("unix:")).start()
        return address

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = self._is_ready()
        return web.Response(text="ready\n" if ready else "no route has a node\n", status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        text = await exposition(readings.of_all(self._status))
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    async def _show_status(self, _: web.Request) -> web.Response:
        return web.json_response(self._status.as_json())
