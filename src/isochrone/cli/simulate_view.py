"""A comparison in a terminal: a line per contender, why requests missed, and the highest rates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isfinite

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isochrone.simulator.comparison import Comparison, Highest, Row
from isochrone.simulator.outcome import Figure

_CAUSES = 4


def view(comparison: Comparison) -> RenderableType:
    """All of it."""
    scenario = comparison.scenario
    nodes = sum(pool.nodes for pool in scenario.pools.values())
    head = Text.assemble((scenario.scenario, "bold"), f"  {scenario.about}" if scenario.about else "")
    runs = "1 run" if comparison.runs == 1 else f"{comparison.runs} runs, median (lowest to highest)"
    set_up = Text(
        f"{_many(nodes, 'node')}, capacity {scenario.capacity_per_s:,.0f}/s · {scenario.duration_s:g} s, "
        f"seed {scenario.seed}, {runs}",
        "dim",
    )
    parts: list[RenderableType] = [head, set_up]
    for load in dict.fromkeys(row.of_capacity for row in comparison.rows):
        rows = [row for row in comparison.rows if row.of_capacity == load]
        parts += ["", _rows(rows, load), "", _misses(rows)]
    if comparison.highest:
        parts += ["", _highest(comparison.highest, scenario.capacity_per_s)]
    return Group(*parts)


def _rows(rows: Sequence[Row], load: float | None) -> Table:
    offered = rows[0].figure("offered_per_s").median
    of_capacity = rows[0].figure("of_capacity").median
    title = f"{offered:,.0f} requests/s, {of_capacity:.2f} of capacity"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=title, title_justify="left")
    table.add_column("batching, placement")
    energy = all(each.wh_per_1000 is not None for row in rows for each in row.outcomes)
    names = ("in time", "goodput/s", "late", "refused", "dropped", "expired", "p50 ms", "p99 ms", "batch", "busy")
    for name in (*names, "expired compute", "cost/1,000", *(("Wh/1,000",) if energy else ())):
        table.add_column(name, justify="right")
    for row in rows:
        name = Text(row.contender.title)
        if row.contender.setting:
            name.append(f"  {row.contender.setting}", "dim")
        if row.tried > 1:
            name.append(f", best of {row.tried}", "dim")
        table.add_row(
            name,
            *(
                _told(row.figure(figure), form)
                for figure, form in (
                    *(("in_time", "%"), ("goodput_per_s", "n"), ("late", "%"), ("refused", "%"), ("dropped", "%")),
                    *(("expired", "%"), ("p50_ms", "f"), ("p99_ms", "f"), ("mean_batch", "f"), ("busy", "%")),
                    *(("expired_compute", "%"), ("cost_per_1000", "c")),
                    *((("wh_per_1000", "c"),) if energy else ()),
                )
            ),
        )
    return table


def _misses(rows: Sequence[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("missed by")
    table.add_column("requests", justify="right")
    table.add_column("why")
    for row in rows:
        causes: Counter[str] = Counter()
        for outcome in row.outcomes:
            causes.update(outcome.causes)
        told = ", ".join(f"{cause} {count:,}" for cause, count in causes.most_common(_CAUSES))
        rest = sum(causes.values()) - sum(count for _, count in causes.most_common(_CAUSES))
        table.add_row(row.contender.title, f"{sum(causes.values()):,}", told + (f", other {rest:,}" if rest else ""))
    return table


def _highest(found: Sequence[Highest], capacity_per_s: float) -> Table:
    title = f"the highest rate with {found[0].within:.1%} of all requests in time"
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=title, title_justify="left")
    table.add_column("batching, placement")
    for column in ("requests/s", "of capacity", "the first over this"):
        table.add_column(column, justify="right")
    first = found[0].rates_per_s.median
    for each in found:
        name = Text(each.contender.title)
        if each.contender.setting:
            name.append(f"  {each.contender.setting}", "dim")
        if each.tried > 1:
            name.append(f", best of {each.tried}", "dim")
        rate = each.rates_per_s.median
        over = f"{first / rate:.2f} x" if rate else "-"
        table.add_row(name, _told(each.rates_per_s, "n"), f"{rate / capacity_per_s:.2f}", over)
    return table


def _told(figure: Figure, form: str) -> str:
    middle = _one(figure.median, form)
    low, high = _one(figure.low, form), _one(figure.high, form)
    return middle if low == high else f"{middle} ({low} to {high})"


def _one(value: float, form: str) -> str:
    if not isfinite(value):
        return "-"
    if form == "%":
        return f"{value * 100:.1f} %" if value < 0.995 else f"{value * 100:.2f} %"
    if form == "n":
        return f"{value:,.0f}"
    if form == "c":
        return f"{value:.3g}"
    return f"{value:,.1f}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
