"""Misses in a terminal: the latest as a table, and all of them by route and by what was to blame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from isochrone.cli.record import Record
from isochrone.cli.waterfall import COLOURS

_ROOM_FOR_PLACES = 120


def view(
    records: Sequence[Record], *, limit: int, seen: int, turned_away: int = 0, since: str, route: str
) -> RenderableType:
    """`records`: all that are kept, the latest first; `seen`: how many there were; `turned_away`: and besides."""
    where = f" of {route}" if route else ""
    at_the_door = [Text(f"and {turned_away:,} turned away: nobody known, or past a quota", style="dim")]
    at_the_door *= bool(turned_away)
    if not seen:
        return Group(Text(f"no misses{where} in the last {since}", style="green"), *at_the_door)
    head = Text.assemble((f"{seen:,} miss" + ("" if seen == 1 else "es"), "bold"), f"{where} in the last {since}")
    if len(records) < seen:
        head.append(f"; of the last {len(records):,} there is more to tell", "dim")
    parts: list[RenderableType] = [head, *at_the_door]
    if records:
        parts += ["", _summary(records)]
    if records and limit:
        parts += ["", _Latest(records[:limit])]
    if 0 < limit < len(records):
        parts.append(Text(f"and {len(records) - limit:,} more: --limit", style="dim"))
    return Group(*parts)


def _summary(records: Sequence[Record]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("route")
    table.add_column("misses", justify="right")
    table.add_column("to blame")
    for route, misses in Counter(record.route for record in records).most_common():
        reasons = Counter(_reason(record) for record in records if record.route == route)
        told = Text(" · ", "dim").join(
            Text.assemble(_coloured(reason), f" {n:,}") for reason, n in reasons.most_common()
        )
        table.add_row(route, f"{misses:,}", told)
    return table


@dataclass(frozen=True, slots=True)
class _Latest:
    """One line each. Where there is little room, without objective, lane and node: a trace id that is cut is none."""

    records: Sequence[Record]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        places = options.max_width >= _ROOM_FOR_PLACES
        table = Table(box=None, padding=(0, 2 if places else 1, 0, 0), header_style="dim", pad_edge=False)
        of, where = (("of",), ("lane", "node")) if places else ((), ())
        for column in ("when", "route", "took", *of, "blame", *where, "trace"):
            right = column in ("took", "of")
            whole = right or column in ("when", "trace")
            table.add_column(column, justify="right" if right else "left", no_wrap=whole, overflow="fold")
        for record in self.records:
            route = Text(record.short_route)
            if record.leg:
                route.append(f" {record.leg}", "dim")
            table.add_row(
                f"{record.at:%H:%M:%S}" if record.at is not None else "?",
                route,
                Text(f"{record.spent_ms:,.1f} ms", "bold red"),
                *([f"{record.report.objective_us / 1e3:g} ms"] if places else []),
                _coloured(_reason(record)),
                *((record.report.lane or "-", record.report.node or "-") if places else ()),
                record.trace_id,
            )
        yield table


def _reason(record: Record) -> str:
    """What a miss is put down to: the error of those that failed, with the stage where one is to blame; what a fallback
    stands in for."""
    if record.error:
        error = record.error.rpartition(", ")[2]
        return f"{error} in {record.blame}" if record.blame else error
    if record.verdict == "fallback":
        return f"{record.report.fallback.reason or '?'} (fallback)"
    if record.is_planned_late:
        return f"{record.blame} (planned late)" if record.blame else "planned late"
    return record.blame or "a leg"


def _coloured(reason: str) -> Text:
    return Text(reason, COLOURS.get(reason.partition(" (")[0], "red"))
