"""How a product page looks in a terminal, while it comes and when it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from isochrone.cli.demo_view import bar, ranking_table
from isochrone.cli.product_page import PageSoFar
from isochrone.cli.waterfall import COLOURS, bars, fallback_in_words
from isochrone.client import Budget, LegResult, Outcome

_TOLD = 5
_CELLS = 36
_NAME = 10

Titles = Callable[[Sequence[int]], list[str]]
"""What items are called."""


def page(so_far: PageSoFar, titles: Titles) -> RenderableType:
    """All that is there by now."""
    parts: list[RenderableType] = []
    if so_far.ranking is not None:
        items = so_far.ranking.item_ids[:_TOLD]
        parts.append(ranking_table(titles(items), so_far.ranking.scores[: len(items)]))
    if so_far.labels is not None:
        parts.append(_labels(so_far))
    if so_far.text:
        parts.append(Padding(Text(so_far.text, style="italic"), (0, 1)))
    parts += [_why_not(leg) for leg in so_far.ended.values() if leg.outcome is not Outcome.OK]
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [part, Text()]
    return Group(*spaced)


class Legs:
    """Each leg's budget as a waterfall in one line, its stages in their colours, on the time axis of the page."""

    def __init__(self, so_far: PageSoFar) -> None:
        self._so_far = so_far

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        so_far = self._so_far
        budgets = {name: leg.budget for name, leg in so_far.ended.items() if leg.budget is not None}
        axis_ms = max((so_far.began_ms(name) + budget.total_ms for name, budget in budgets.items()), default=0) or 1.0
        cells = max(10, min(_CELLS, options.max_width - 64))
        for name in so_far.legs:
            budget = budgets.get(name)
            if budget is not None:
                yield _leg_line(name, so_far.began_ms(name), budget, axis_ms / cells, cells)
        legend = Text(" " * (_NAME + 2))
        for stage, colour in COLOURS.items():
            legend.append("█", colour).append(f" {stage}  ", "dim")
        yield legend


def _leg_line(name: str, began_ms: float, budget: Budget, cell_ms: float, cells: int) -> Text:
    before = min(round(began_ms / cell_ms), cells - 1)
    line = Text(f"{name:>{_NAME}}  " + " " * before, no_wrap=True)
    drawn = before
    for stage in bars(budget.report):
        end = min(cells, round((began_ms + (stage.start_us + stage.spent_us) / 1e3) / cell_ms))
        line.append("█" * max(0, end - drawn), COLOURS.get(stage.name, "white"))
        drawn = max(drawn, end)
    if drawn == before:
        line.append("▏", "green")
        drawn += 1
    first_ms = budget.report.first_us / 1e3
    spent_ms = first_ms or budget.total_ms
    verdict = ("missed", "red") if budget.missed else ("in time", "green")
    if budget.fallback is not None:
        verdict = ("fallback", "yellow")
    line.append(" " * (cells - drawn))
    line.append(f" {spent_ms:7.2f}", "bold").append(f" of {budget.objective_ms:g} ms ").append(*verdict)
    if first_ms:
        line.append(f"  {budget.report.chunks} chunks in {budget.total_ms:.0f} ms", "dim")
    else:
        line.append(f"  {budget.node}", "dim")
    return line


def _labels(so_far: PageSoFar) -> RenderableType:
    assert so_far.labels is not None
    rows = Table.grid(padding=(0, 2, 0, 1))
    for label, probability in zip(so_far.labels.labels, so_far.labels.probabilities, strict=True):
        rows.add_row(label, f"{100 * probability:.1f} %", Text(bar(probability, 20), style="magenta"))
    if so_far.embedding is not None:
        place = ", ".join(f"{value:+.2f}" for value in so_far.embedding.embedding[:4])
        told = f"its place among all photos: {place}, … ({len(so_far.embedding.embedding)} dimensions)"
        return Group(rows, Padding(Text(told, style="dim"), (0, 1)))
    return rows


def _why_not(leg: LegResult) -> RenderableType:
    reason = "" if leg.error is None else f": {leg.error.message}"
    if leg.budget is not None and leg.budget.fallback is not None:
        reason = f": {fallback_in_words(leg.budget.report.fallback)}"
    return Padding(Text(f"{leg.name} {leg.outcome}{reason}", style="yellow"), (0, 1))
