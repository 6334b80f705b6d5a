"""`isochrone status`: routes, lanes and nodes of a mesh as its router sees them, live."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isochrone.cli.admin import DEFAULT_URL, fetch_status, url_of
from isochrone.cli.finite import finite
from isochrone.cli.screen import err, examples, out, wide
from isochrone.cli.trust import Ca, Certificate, Key, context_of
from isochrone.errors import Unavailable

if TYPE_CHECKING:
    from ssl import SSLContext

EPILOG = examples(
    ("watch the mesh on this machine", "isochrone status"),
    ("another router's, every 5 seconds", "isochrone status --admin 10.0.0.7:8080 --interval 5"),
    ("of one with TLS", "isochrone status --admin https://10.0.0.7:8080 --ca tls/ca.crt"),
    ("the worst p99 of all routes, for a script", "isochrone status --json | jq '[.routes[].p99_ms] | max'"),
)


def status(
    admin: Annotated[str, typer.Option(help="The router's admin address, as in its router.admin.")] = DEFAULT_URL,
    once: Annotated[bool, typer.Option("--once", help="Print it once and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it once, as JSON.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, callback=finite, help="Seconds between two looks.")] = 1.0,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
) -> None:
    """Watch a mesh: its routes against their objectives, its lanes and batches, its nodes and their latency.

    Into a pipe it prints once.
    """
    import json

    from isochrone.cli.status_view import StatusView

    base, trust = url_of(admin), context_of(ca, certificate, key)
    if as_json:
        print(json.dumps(fetch_status(base, trust=trust), indent=2))
    elif once or not out.is_terminal:
        wide().print(StatusView(fetch_status(base, trust=trust)))
    else:
        _watch(base, interval, trust)


def _watch(base: str, interval_s: float, trust: SSLContext | None) -> None:
    """Until Ctrl-C. A router that goes away is waited for; one that never was there is an error."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from isochrone.cli.status_view import StatusView

    shown: Any = StatusView(fetch_status(base, trust=trust))
    with Live(shown, console=out, auto_refresh=False, vertical_overflow="ellipsis") as live:
        try:
            while True:
                time.sleep(interval_s)
                try:
                    shown = StatusView(fetch_status(base, trust=trust))
                    live.update(shown, refresh=True)
                except Unavailable as error:
                    live.update(Group(shown, Text(error.message, style="bold red")), refresh=True)
        except KeyboardInterrupt:
            live.stop()
            err.print()
