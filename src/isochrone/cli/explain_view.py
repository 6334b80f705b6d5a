"""A request that is over, in a terminal: where its time went, what was to blame, and a page's legs below it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from isochrone.cli.in_words import given_up, ms, sentence
from isochrone.cli.record import Record
from isochrone.cli.waterfall import Waterfall
from isochrone.credentials import ANONYMOUS

_INDENT = 4


def explained(record: Record) -> RenderableType:
    """All that there is to say of one request."""
    head = Text(record.route, "bold")
    if record.at is not None:
        head.append(f"  {record.at:%Y-%m-%d %H:%M:%S}.{record.at.microsecond // 1000:03}", "dim")
    head.append(f"  {record.router}", "dim")
    if record.report.tier not in ("", "standard"):
        head.append(f"  {record.report.tier}", "dim")
    if record.report.caller not in ("", ANONYMOUS):
        head.append(f"  of {record.report.caller}", "dim")
    axis_us = max((_ends_us(leg) for leg in record.legs), default=0)
    parts: list[RenderableType] = [head, *_body(record, axis_us)]
    for leg in record.legs:
        name = Text.assemble((leg.leg, "bold"), f"  {leg.short_route}", (f"  from {ms(leg.starts_ms)} on", "dim"))
        parts.append(Padding(Group(name, *_body(leg, axis_us)), (1, 0, 0, _INDENT)))
    if record.jaeger:
        parts.append(Text(record.jaeger, "cyan underline", no_wrap=True, overflow="fold"))
    return Group(*parts)


def _body(record: Record, axis_us: int) -> list[RenderableType]:
    """On the axis of the whole."""
    starts_us = round(record.starts_ms * 1e3)
    drawn = Waterfall(record.report, verdict=record.verdict, starts_us=starts_us, axis_us=axis_us)
    return [drawn, *map(Text, (sentence(record), *given_up(record)))]


def _ends_us(leg: Record) -> int:
    return round(leg.starts_ms * 1e3) + max(leg.report.total_us, leg.report.objective_us)
