"""The tables of a benchmark in the terminal, and its JSON on disk."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.result import CaseResult, Measurement, Verdict, having, spread_of
from bench.stats import Spread, in_digits

BUSY_CORES = 0.1
"""Cores kept busy by others from which a figure is in doubt."""
FULL_LOAD_CORES = 0.95
"""Cores kept busy by the load generator from which it may have been what limited the rate."""


def show(results: Sequence[CaseResult], setup: Sequence[str], console: Console) -> None:
    """Verdicts first, then what they rest on."""
    console.print()
    console.print(verdict_table(results))
    console.print(measurement_table(results))
    for result in results:
        console.print(f"[bold]{result.name}[/]: {result.title}; {result.pinning}.")
        for note in (*result.notes, *doubts(result)):
            console.print(f"  {note}")
    for line in setup:
        console.print(line, style="dim")


def verdict_table(results: Sequence[CaseResult]) -> Table:
    """Each target with what was measured: the median of the rounds, and their range."""
    table = Table(title="Targets", title_justify="left")
    for heading in ("case", "target", "measured", "made of", ""):
        table.add_column(heading)
    for result in results:
        for verdict in result.verdicts:
            table.add_row(result.name, target_of(verdict), measured_of(verdict), verdict.beside, outcome_of(verdict))
        table.add_section()
    return table


def measurement_table(results: Sequence[CaseResult]) -> Table:
    """Each kind of measurement, over the rounds."""
    table = Table(title="Measured: median (lowest to highest round)", title_justify="left")
    table.add_column("case")
    table.add_column("contender")
    for heading in ("requests/s", "p50 ms", "p99 ms", "CPU µs a request", "of which", "failed"):
        table.add_column(heading, justify="right")
    for result in results:
        for contender, what in kinds(result.measurements):
            rounds = having(result.measurements, contender, what)
            figures = [str(spread_of(rounds, figure)) for figure in ("rate", "p50_ms", "p99_ms", "cpu_us")]
            failed = sum(each.failed for each in rounds)
            table.add_row(result.name, f"{contender}, {what}", *figures, shares_of(rounds), str(failed or ""))
        table.add_section()
    return table


def kinds(measurements: Sequence[Measurement]) -> list[tuple[str, str]]:
    """Contender and kind of load, each once, in the order of the first round."""
    return list(dict.fromkeys((each.contender, each.what) for each in measurements))


def shares_of(rounds: Sequence[Measurement]) -> str:
    """CPU by process, "router 236, toy-0 165, redis 29"; nothing where there is but one."""
    names = list(rounds[0].server_cpu_us)
    if len(names) < 2:
        return ""
    medians = {name: Spread.of(each.server_cpu_us[name] for each in rounds).median for name in names}
    return ", ".join(f"{name} {in_digits(used)}" for name, used in medians.items())


def doubts(result: CaseResult) -> list[str]:
    """What a reader should hold against the figures."""
    found: list[str] = []
    if not result.measurements:
        return found
    busy = spread_of(result.measurements, "busy_elsewhere_cores")
    if busy.high > BUSY_CORES:
        found.append(
            f"[yellow]in doubt[/]: other processes kept up to {in_digits(busy.high)} cores busy "
            f"(median {in_digits(busy.median)}), of which the hypervisor took up to "
            f"{in_digits(spread_of(result.measurements, 'stolen_cores').high)}"
        )
    for contender, what in kinds(result.measurements):
        cores = spread_of(having(result.measurements, contender, what), "busy_load_cores")
        if cores.median > FULL_LOAD_CORES:
            found.append(f"[yellow]{contender}, {what}[/]: the load generator itself was at its limit")
    return found


def target_of(verdict: Verdict) -> str:
    return f"{verdict.target}: {verdict.sense} {verdict.limit:g} {verdict.unit}"


def measured_of(verdict: Verdict) -> str:
    return f"{verdict.measured} {verdict.unit}"


def outcome_of(verdict: Verdict) -> str:
    return "[green]met[/]" if verdict.met else "[red]missed[/]"


def write_json(path: Path, results: Sequence[CaseResult], setup: dict[str, Any], asked: dict[str, Any]) -> None:
    """Everything, down to each round's quantiles."""
    found = {"setup": setup, "asked": asked, "cases": [result.as_json() for result in results]}
    path.write_text(json.dumps(found, indent=1, default=str, ensure_ascii=False) + "\n", encoding="utf-8")
