"""`isochrone explain`: what became of one request, from what the routers remember."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from isochrone.cli.admin import admin_urls, ask_all
from isochrone.cli.screen import err, examples, out
from isochrone.cli.trust import Ca, Certificate, Key, context_of

EPILOG = (
    examples(
        ("a request of just now", "isochrone call Recsys/Rank --json @request.json --budget"),
        ("where its time went, its fan-out with it", "isochrone explain 4bf92f3577b34da6a3ce929d0e0e4736"),
        ("of a mesh elsewhere", "isochrone explain 4bf92f3577b34da6a3ce929d0e0e4736 --admin 10.0.0.7:8080"),
        ("which there were", "isochrone misses --since 10m"),
    )
    + "\n\n[bold]Exit code[/]  0 explained · 1 nothing is kept of it · 2 no trace id · 9 no router answers"
)
_TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")


def explain(
    trace_id: Annotated[str, typer.Argument(metavar="TRACE_ID", help="32 hex digits, of a budget or a trace viewer.")],
    config: Annotated[Path | None, typer.Option("--config", help="The mesh's file, for where its routers are.")] = None,
    admin: Annotated[list[str] | None, typer.Option(help="A router's admin address; give each of several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
) -> None:
    """Say where the time of a request went, stage by stage, what was to blame, and what was tried.

    Routers remember the last 4,096 requests for 15 minutes, and the last 2,048 that went wrong for an hour.
    """
    import json

    if not _TRACE_ID.fullmatch(trace_id):
        raise typer.BadParameter(f"{trace_id!r} is no trace id: those have 32 hex digits", param_hint="TRACE_ID")
    trust = context_of(ca, certificate, key)
    answers = ask_all(admin_urls(config, admin or ()), f"/traces/{trace_id.lower()}", trust=trust)
    requests = sorted(
        (request for answer in answers for request in answer.get("requests", ())),
        key=lambda request: str(request.get("at")),
    )
    if not requests:
        err.print(f"nothing is kept of trace {trace_id}", soft_wrap=True)
        raise typer.Exit(1)
    if as_json:
        print(json.dumps({"requests": requests}, indent=2))
        return
    from isochrone.cli.explain_view import explained
    from isochrone.cli.record import Record

    for number, request in enumerate(requests):
        out.print("\n" if number else "", explained(Record.of(request)), sep="", end="")
