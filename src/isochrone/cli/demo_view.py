"""What the demo prints: a ranking, and what came of a few seconds of load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from isochrone.cli.load import Tally

_BAR_CELLS = 40
_MOST_SIZES = 12


def ranking_table(titles: Sequence[str], scores: Sequence[float]) -> Table:
    """The best few, with the probability of a click."""
    table = Table(box=None, padding=(0, 2, 0, 1), header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column("item")
    table.add_column("click", justify="right")
    table.add_column("")
    top = max(scores, default=0) or 1.0
    for place, (title, score) in enumerate(zip(titles, scores, strict=True), start=1):
        table.add_row(str(place), title, f"{100 * score:.1f} %", Text(bar(score / top, 20), style="green"))
    return table


def load_summary(tally: Tally, *, objective_ms: float, target: float) -> RenderableType:
    """Rate, latencies, attainment; then how batches formed and who ran them."""
    attained = tally.attainment()
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column()
    rate = tally.sent / tally.took_s if tally.took_s else 0.0
    rows.add_row("rate", f"[bold]{rate:.0f}[/] requests/s for {tally.took_s:.1f} s, {tally.answered:,} answered")
    rows.add_row(
        "latency",
        f"p50 [bold]{tally.percentile_ms(50):.2f} ms[/]   p99 [bold]{tally.percentile_ms(99):.2f} ms[/]   "
        "[dim]from when each request was due[/]",
    )
    colour = "green" if attained >= target else "yellow"
    rows.add_row(
        "in time",
        f"[bold {colour}]{floored_percent(attained)}[/] within {objective_ms:g} ms at the router   "
        f"[dim]aim {100 * target:g} %[/]",
    )
    rows.add_row(
        "",
        f"[bold]{floored_percent(tally.within(objective_ms))}[/] as this client sees it   "
        "[dim]sharing the mesh's cores[/]",
    )
    if tally.errors:
        told = ", ".join(f"{count} {kind}" for kind, count in tally.errors.most_common())
        rows.add_row("errors", f"[red]{told}[/]")
    rows.add_row("batches", _batches(tally.batch_sizes()))
    rows.add_row("nodes", _nodes(tally.nodes))
    return rows


def beside(name: str, tally: Tally, *, objective_ms: float) -> RenderableType:
    """One line for what went on beside the rankings."""
    row = Table.grid(padding=(0, 2))
    row.add_column(style="dim", width=len("latency"))
    row.add_column()
    told = f"[bold]{tally.answered}[/] of {tally.sent} answered, "
    told += f"{floored_percent(tally.attainment())} within {objective_ms:g} ms at the router"
    if tally.errors:
        told += "   [red]" + ", ".join(f"{count} {kind}" for kind, count in tally.errors.most_common()) + "[/]"
    row.add_row(name, told)
    return row


def bar(fraction: float, cells: int) -> str:
    """A bar of up to that many cells, drawn to an eighth of one; anything over nothing is seen."""
    eighths = round(max(0.0, min(fraction, 1.0)) * cells * 8)
    if fraction > 0:
        eighths = max(eighths, 1)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


def floored_percent(fraction: float) -> str:
    """99.95 % stays 99.95 %, and 99.9999 % does not become 100 %."""
    return f"{int(fraction * 1e4 + 1e-9) / 100:g} %"


def _batches(sizes: Mapping[int, float]) -> RenderableType:
    """How many batches there were of each size; the rare large ones together."""
    shown = {f"{size} request{'s' if size > 1 else ''}": count for size, count in list(sizes.items())[:_MOST_SIZES]}
    if len(sizes) > _MOST_SIZES:
        shown["more"] = sum(list(sizes.values())[_MOST_SIZES:])
    return _bars({label: (count, f"{count:.0f}") for label, count in shown.items()})


def _nodes(answers: Mapping[str, int]) -> RenderableType:
    total = sum(answers.values()) or 1
    return _bars({node: (count, f"{100 * count / total:.0f} %") for node, count in sorted(answers.items())})


def _bars(rows: Mapping[str, tuple[float, str]]) -> RenderableType:
    """Label, bar and figure of each row, the longest bar to the full width."""
    if not rows:
        return Text("none", style="dim")
    top = max(value for value, _ in rows.values()) or 1
    width = max(map(len, rows))
    lines = []
    for label, (value, figure) in rows.items():
        drawn = f"{bar(value / top, _BAR_CELLS):<{_BAR_CELLS}}"
        lines.append(Text.assemble(f"{label:<{width}}  ", (drawn, "cyan"), f" {figure}"))
    return Group(*lines)
