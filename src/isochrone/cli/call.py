"""`isochrone call`: one request to a method of a router or a node, written and read as JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isochrone.cli.finite import finite
from isochrone.cli.screen import err, examples, out
from isochrone.cli.token import token_of_environment
from isochrone.cli.trust import Ca, Certificate, Key, ServerName, tls_of

if TYPE_CHECKING:
    from isochrone.cli.waterfall import Waterfall

EPILOG = examples(
    ("which methods are there?", "isochrone call"),
    ("what does a request look like?", "isochrone call Recsys/Rank --describe"),
    ("a request from a file, and where its time went", "isochrone call Recsys/Rank --json @request.json --budget"),
    ("a text as it is made", 'isochrone call Llm/Generate --json \'{"prompt": "name: mug"}\''),
    ("with 20 ms to answer", "echo '{…}' | isochrone call isochrone.v1.Recsys/Rank --json - --timeout-ms 20"),
) + (
    "\n\n[bold]Exit code[/]  0 answered · 3 the request is wrong · 4 no such method · 5 no such variant · 6 too late · "
    "7 cancelled · 8 overloaded · 9 nothing could answer · 10 internal error · 11 who calls isn't known · 12 may not"
)


CONNECT_S = 2.0


def call(
    method: Annotated[
        str | None,
        typer.Argument(metavar="[METHOD]", help="Full name, or its end if that is clear. Without one: lists them."),
    ] = None,
    json: Annotated[str, typer.Option("--json", "-j", help="The request: JSON, @FILE, or - for stdin.")] = "{}",
    target: Annotated[str, typer.Option("--target", "-t", help="A router or a node.")] = "127.0.0.1:50051",
    timeout_ms: Annotated[
        float | None, typer.Option(min=0.001, callback=finite, help="Deadline, where shorter than the route's.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="The model variant that must answer.")] = None,
    budget: Annotated[bool, typer.Option("--budget", "-b", help="Show where the time went, on stderr.")] = False,
    describe: Annotated[bool, typer.Option("--describe", "-d", help="Show what a request may hold.")] = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
) -> None:
    """Send one request to a method and print the answer as JSON; one that streams, message by message.

    The server describes its methods itself (gRPC reflection), so this works for any service of a mesh. Where the mesh
    knows callers by a token, the environment variable ISOCHRONE_TOKEN has it.
    """
    from isochrone.cli import reflected
    from isochrone.cli.waterfall import Waterfall
    from isochrone.client import SyncClient
    from isochrone.client.endpoint import Endpoint
    from isochrone.errors import InvalidRequest, IsochroneError

    text = _read(json)
    tls = tls_of(ca, certificate, key, server_name)
    known = reflected.methods(Endpoint.of([target], tls=tls)[0], timeout_s=CONNECT_S)
    if method is None:
        for one in known:
            out.print(one.route, soft_wrap=True)
        return
    found = reflected.find(known, method)
    if describe:
        out.print(found.template(), soft_wrap=True, markup=False)
        return
    if found.takes_a_stream:
        raise InvalidRequest(f"{found.route} takes a stream of requests; from here, each is one")
    request = found.encode(text)
    timeout_s = timeout_ms / 1e3 if timeout_ms else None
    with SyncClient(target, tls=tls, token=token_of_environment()) as client:
        try:
            if found.streams:
                chunks = client.stream(found.route, request, timeout_s=timeout_s, variant=variant)
                for chunk in chunks:
                    out.print(found.decode(chunk), soft_wrap=True, markup=False)
                spent = chunks.budget
            else:
                answer = client.call(found.route, request, timeout_s=timeout_s, variant=variant)
                out.print(found.decode(answer.payload), soft_wrap=True, markup=False)
                spent = answer.budget
        except IsochroneError as error:
            if budget and error.budget is not None:
                _show(Waterfall(error.budget.report, verdict="failed"))
            raise
    if budget and spent is not None:
        _show(Waterfall(spent.report))


def _show(spent: Waterfall) -> None:
    """With what to type to see it again, and more of it."""
    err.print(spent)
    if spent.report.trace_id:
        err.print(f"isochrone explain {spent.report.trace_id.hex()}", style="dim", soft_wrap=True)


def _read(given: str) -> str:
    """The text that --json means. Raises InvalidRequest for a file that can't be read."""
    from isochrone.errors import InvalidRequest

    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--json {given}: can't be read: {error}") from None
