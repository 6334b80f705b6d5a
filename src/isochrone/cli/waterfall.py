"""One answer's budget as a waterfall in the terminal: each stage where it began, as long as it took."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from isochrone.cli.plan_in_words import cost, planned, refused, sent
from isochrone.ledger import stage_name, stages
from isochrone.v1.budget_pb2 import BudgetReport, Fallback

_LABEL, _FIGURES = 12, 20
_BLAMED = "  to blame"
_MAX_BAR = 80
_EIGHTHS = " ▏▎▍▌▋▊▉█"
COLOURS = {
    "admit": "cyan",
    "queue": "yellow",
    "batch wait": "magenta",
    "compute": "green",
    "link": "blue",
    "answer": "cyan",
}
_CLOSED = {
    "all": "all that waited",
    "full": "no more fitted",
    "deadline": "one more would have made it late",
    "overload": "the most in time for the work",
    "late": "late already, but better than never",
    "split": "a part of one that failed",
    "stream": "beside each other",
}
"""isochrone.batching.ClosedBy in words."""
_COLOURS_OF_VERDICTS = {
    "met": "bold green",
    "missed": "bold red",
    "failed": "bold red",
    "cancelled": "bold yellow",
    "fallback": "bold yellow",
}


@dataclass(frozen=True, slots=True)
class Bar:
    """A stage on the time axis, in microseconds."""

    name: str
    start_us: int
    spent_us: int


def bars(report: BudgetReport) -> list[Bar]:
    """The stages one after the other, as they happened; one that a newer router knows keeps its number."""
    found, at_us = [], 0
    for stage, spent_us in stages(report):
        found.append(Bar(stage.replace("_", " "), at_us, spent_us))
        at_us += spent_us
    return found


@dataclass(frozen=True, slots=True)
class Waterfall:
    """A renderable of a BudgetReport. The axis reaches to the objective, or to the end where that is later; that of a
    part of something longer is given."""

    report: BudgetReport
    verdict: str = ""
    """ "met", "missed", "failed", "fallback" or "cancelled"; where it isn't said, what the report has."""
    starts_us: int = 0
    """Where on its axis it begins."""
    axis_us: int = 0
    """How long the axis is at least."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        stood_in = report.HasField("fallback")
        yield _headline(report, self.verdict or ("fallback" if stood_in else "missed" if report.missed else "met"))
        if stood_in:
            yield Text(fallback_in_words(report.fallback), "yellow")
        stages = [replace(bar, start_us=self.starts_us + bar.start_us) for bar in bars(report)]
        if not stages:
            return
        blamed = stage_name(report.blame).replace("_", " ")
        beside = _FIGURES + (len(_BLAMED) if report.blame else 0)
        width = max(10, min(options.max_width - _LABEL - beside - 2, _MAX_BAR))
        longest_us = max(report.total_us, report.objective_us, sum(bar.spent_us for bar in stages))
        axis_us = max(self.axis_us, self.starts_us + longest_us, 1)
        for bar in stages:
            line = _line(bar, axis_us, width, report.objective_us, COLOURS.get(bar.name, "white"), options.ascii_only)
            yield line.append(_BLAMED, "bold red") if bar.name == blamed else line
        left_us = 0 if report.chunks else report.objective_us - report.total_us
        if left_us > 0:
            spare = Bar("to spare", self.starts_us + report.total_us, left_us)
            yield _line(spare, axis_us, width, report.objective_us, "bright_black", options.ascii_only, faint=True)
        for footer in _footers(report):
            yield Text("\n".join(_folded(footer, options.max_width)), "dim")


def _line(
    bar: Bar, axis_us: int, width: int, objective_us: int, colour: str, ascii_only: bool, *, faint: bool = False
) -> Text:
    """One row: name, bar at its place, milliseconds, share of the objective."""
    cell_us = axis_us / width
    before = min(int(bar.start_us / cell_us), width - 1)
    length = min(_drawn(bar.spent_us / cell_us, ascii_only, faint), _drawn(width - before, ascii_only, faint), key=len)
    share = f"{100 * bar.spent_us / objective_us:4.0f} %" if objective_us else ""
    return Text.assemble(
        (f"{bar.name:>{_LABEL - 2}}  ", "dim" if faint else ""),
        " " * before,
        (length, colour),
        " " * (width - before - len(length)),
        (f"{bar.spent_us / 1e3:9.2f} ms", "dim" if faint else ""),
        (f"  {share}", "dim"),
        no_wrap=True,
    )


def _drawn(cells: float, ascii_only: bool, faint: bool) -> str:
    """A bar of that many cells; what took any time at all is seen."""
    if ascii_only or faint:
        return ("." if faint and ascii_only else "░" if faint else "#") * max(1, round(cells))
    eighths = max(1, round(cells * 8))
    return "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")


def _folded(footer: str, width: int) -> list[str]:
    """In lines that end where a part of it does."""
    lines: list[str] = []
    for part in footer.split(" · "):
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def _headline(report: BudgetReport, said: str) -> Text:
    verdict = ("in time" if said == "met" else said, _COLOURS_OF_VERDICTS.get(said, "bold"))
    if report.chunks:
        return Text.assemble(
            f"first of {report.chunks} chunks after ",
            (f"{report.first_us / 1e3:.2f} ms", "bold"),
            f" of {report.objective_us / 1e3:g} ms  ",
            verdict,
            (f"  ({report.total_us / 1e3:.2f} ms in all, deadline {report.deadline_us / 1e3:g} ms)", "dim"),
        )
    return Text.assemble(
        (f"{report.total_us / 1e3:.2f} ms", "bold"),
        f" of {report.objective_us / 1e3:g} ms  ",
        verdict,
        (f"  (deadline {report.deadline_us / 1e3:g} ms)", "dim"),
    )


def _footers(report: BudgetReport) -> Iterator[str]:
    """Where it was planned to go, where it went, and what became of that; those lines that there is anything in."""
    plan = planned(report) or refused(report)
    where = [] if report.lane and plan.startswith(report.lane) else [report.lane]
    where.append(f"on {report.node}" if report.node else "")
    if report.batch.jobs:
        size = f"{count(report.batch.jobs, 'request')}, {count(report.batch.units, 'unit')}"
        where.append(f"batch of {size}: {_CLOSED.get(report.batch.closed_by, report.batch.closed_by or '?')}")
    rest = [sent(report), "over the link" if report.direct else "", cost(report)]
    for parts in ([plan], where, rest):
        if line := " · ".join(filter(None, parts)):
            yield line


def fallback_in_words(fallback: Fallback) -> str:
    """ "last good answer, 12 s old, because OVERLOAD"."""
    why = f", because {fallback.reason}" if fallback.reason else ""
    by = f" of {fallback.route}" if fallback.route else ""
    match fallback.source:
        case "last_good":
            return f"last good answer{by}, {_age(fallback.age_ms / 1e3)} old{why}"
        case "static":
            return f"static answer{by}{why}"
        case "route":
            return f"answer of another route, {fallback.route}{why}"
    return f"fallback {fallback.source}{by}{why}"


def _age(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def count(number: int, noun: str) -> str:
    """ "1 request", "2 requests"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
