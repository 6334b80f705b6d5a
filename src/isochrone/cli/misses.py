"""`isochrone misses`: which requests were late or failed of late, and what was to blame."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from isochrone.cli.admin import admin_urls, ask_all
from isochrone.cli.screen import examples, wide
from isochrone.cli.trust import Ca, Certificate, Key, context_of

EPILOG = examples(
    ("of the last ten minutes", "isochrone misses"),
    ("of rankings, in the last 90 seconds", "isochrone misses --route Rank --since 90s"),
    ("what is to blame most, for a script", "isochrone misses --json | jq -r '.misses[].blame' | sort | uniq -c"),
    ("one of them in full", "isochrone explain 4bf92f3577b34da6a3ce929d0e0e4736"),
)
ALL = 1_000_000
_SINCE = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)(s|m|h)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LONGEST_S = 2 * 3600


def misses(
    since: Annotated[str, typer.Option(help="How far back: 90s, 10m, 2h.")] = "10m",
    route: Annotated[str | None, typer.Option(help="Full name, or its end; else all.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many are listed, the latest.")] = 20,
    config: Annotated[Path | None, typer.Option("--config", help="The mesh's file, for where its routers are.")] = None,
    admin: Annotated[list[str] | None, typer.Option(help="A router's admin address; give each of several.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
) -> None:
    """List the requests that missed their objective or failed, and sum them up by route and by what was to blame.

    Routers remember the last 2,048 for an hour, and count those of two.
    """
    import json
    from urllib.parse import urlencode

    query = {"since_s": seconds(since), "limit": limit if as_json else ALL} | ({"route": route} if route else {})
    answers = ask_all(
        admin_urls(config, admin or ()), f"/misses?{urlencode(query)}", trust=context_of(ca, certificate, key)
    )
    found = _merged(answers)
    if as_json:
        print(json.dumps(found | {"misses": found["misses"][:limit]}, indent=2))
        return
    from isochrone.cli.misses_view import view
    from isochrone.cli.record import Record

    records = [Record.of(miss) for miss in found["misses"]]
    counts = {"seen": found["seen"], "turned_away": found["turned_away"]}
    wide().print(view(records, limit=limit, since=since, route=route or "", **counts))


def seconds(since: str) -> float:
    """ "10m". Raises BadParameter."""
    found = _SINCE.fullmatch(since)
    if found is None:
        raise typer.BadParameter(f"{since!r} should look like 90s, 10m or 2h", param_hint="--since")
    value = float(found[1]) * _SECONDS[found[2]]
    if not 0 < value <= _LONGEST_S:
        raise typer.BadParameter(f"{since!r}: more than 0s and at most 2h are counted", param_hint="--since")
    return value


def _merged(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """What several routers say as if one had."""
    together = [miss for answer in answers for miss in answer.get("misses", ())]
    together.sort(key=lambda miss: str(miss.get("at")), reverse=True)
    return {
        "misses": together,
        "seen": sum(answer.get("seen", 0) for answer in answers),
        "kept": sum(answer.get("kept", 0) for answer in answers),
        "turned_away": sum(answer.get("turned_away", 0) for answer in answers),
    }
