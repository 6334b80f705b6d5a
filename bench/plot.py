"""The picture of a benchmark: CPU per request, latencies, and what is kept of what there was, as SVG and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from bench.report import kinds
from bench.result import CaseResult, Measurement, having
from bench.stats import Spread, in_digits

_COLOURS = {"redis": "#c0504d", "router": "#1f6f8b", "floor": "#9a9a9a"}
_NODE_COLOURS = ("#e0a030", "#b87a10")
_SHOWN_SHARE = 2.0
"""Shares of a target are drawn up to here; what lies beyond has its figure beside it."""


def draw(results: Sequence[CaseResult], folder: Path) -> list[Path]:
    """Writes bench.svg and bench.png into a folder."""
    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"})
    figure, (cpu, latency, targets) = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    _cpu_bars(cpu, results)
    _latency_curves(latency, results)
    _target_bars(targets, results)
    paths = [folder / "bench.svg", folder / "bench.png"]
    for path in paths:
        figure.savefig(path, dpi=130)
    plt.close(figure)
    return paths


def _cpu_bars(axes: Axes, results: Sequence[CaseResult]) -> None:
    """CPU per request at 64 in flight, by process."""
    axes.set_title("CPU per request, 64 in flight")
    axes.set_xlabel("µs")
    rows = [
        (f"{result.name}: {contender}", having(result.measurements, contender, what))
        for result in results
        for contender, what in kinds(result.measurements)
        if what == "64 in flight"
    ]
    for row, (_, rounds) in enumerate(rows):
        left = 0.0
        nodes = 0
        for name in rounds[0].server_cpu_us:
            used_us = Spread.of(each.server_cpu_us[name] for each in rounds).median
            colour = _COLOURS.get(name)
            if colour is None:
                colour, nodes = _NODE_COLOURS[nodes % len(_NODE_COLOURS)], nodes + 1
            axes.barh(row, used_us, left=left, color=colour, height=0.6)
            if used_us > 25:
                axes.text(left + used_us / 2, row, name, ha="center", va="center", color="white", fontsize=7)
            left += used_us
        axes.text(left, row, f" {left:,.0f}", va="center")
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()


def _latency_curves(axes: Axes, results: Sequence[CaseResult]) -> None:
    """Latencies of the open loops: the share of requests that took longer, both axes logarithmic."""
    axes.set_title("Open loop, latency from the scheduled arrival")
    axes.set_xlabel("ms")
    axes.set_ylabel("share of requests that took longer")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(1e-3, 1)
    for result in results:
        for contender, what in kinds(result.measurements):
            rounds = having(result.measurements, contender, what)
            if rounds[0].data["closed"] is None:
                above, milliseconds = _curve(rounds)
                axes.plot(milliseconds, above, label=f"{result.name}: {contender}, {what}")
    if axes.lines:
        axes.axvline(15, color="black", linewidth=0.8, linestyle=":")
        axes.legend(fontsize=7, loc="lower left")


def _curve(rounds: Sequence[Measurement]) -> tuple[list[float], list[float]]:
    """Shares above, and the median over the rounds of each quantile."""
    quantiles = np.array([each.data["quantiles_ms"] for each in rounds])
    shares = 1 - quantiles[0, :, 0]
    return list(shares[:-1]), list(np.median(quantiles[:, :, 1], axis=0)[:-1])


def _target_bars(axes: Axes, results: Sequence[CaseResult]) -> None:
    """Each target's figure as a share of its limit, where that isn't zero."""
    axes.set_title("Measured, as a share of the target")
    verdicts = [(result.name, verdict) for result in results for verdict in result.verdicts if verdict.limit]
    for row, (_, verdict) in enumerate(verdicts):
        low, share, high = (value / verdict.limit for value in _in_order(verdict.measured))
        colour = "#4f8f4f" if verdict.met else "#c0504d"
        error = [[share - low], [high - share]]
        axes.barh(row, share, color=colour, height=0.6, xerr=error, error_kw={"linewidth": 0.8, "capsize": 2})
        axes.text(_SHOWN_SHARE, row, f" {in_digits(verdict.measured.median)} {verdict.unit}", va="center", fontsize=8)
    axes.set_xlim(0, _SHOWN_SHARE)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    labels = [
        f"{name}: {verdict.target[:38]}…\n{verdict.sense} {verdict.limit:g} {verdict.unit}"
        for name, verdict in verdicts
    ]
    axes.set_yticks(range(len(verdicts)), labels, fontsize=7)
    axes.invert_yaxis()


def _in_order(spread: Spread) -> tuple[float, float, float]:
    return spread.low, spread.median, spread.high
