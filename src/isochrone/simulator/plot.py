"""The picture of a comparison: how requests ended, what they cost, loads and the course of a run, as PNG or SVG."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture

from isochrone.simulator.comparison import Comparison, Row
from isochrone.simulator.tally import BUCKETS

_ENDS = {
    "in_time": ("in time", "#4f8f4f"),
    "late": ("late", "#e0a030"),
    "refused": ("refused", "#9a9a9a"),
    "dropped": ("dropped", "#8064a2"),
    "expired": ("expired", "#c0504d"),
}


def draw(comparison: Comparison, path: Path) -> None:
    """Writes the picture; the path's suffix says of which kind."""
    with matplotlib.rc_context(
        {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.fonttype": "none"}
    ):
        picture = Picture(figsize=(16, 9), layout="constrained")
        ends, loads, batches, costs = picture.subplots(2, 2).flat
        last = [row for row in comparison.rows if row.of_capacity == comparison.rows[-1].of_capacity]
        _ends(ends, last)
        if comparison.scenario.sweep is not None:
            _loads(loads, comparison)
        else:
            _course(loads, comparison)
        _bars(batches, last, "mean_batch", "mean batch, jobs")
        _bars(costs, last, "cost_per_1000", "cost of 1,000 answers in time, by device time used")
        scenario = comparison.scenario
        picture.suptitle(f"{scenario.scenario}: {scenario.about}" if scenario.about else scenario.scenario)
        picture.savefig(path, dpi=120)


def _label(row: Row) -> str:
    return "\n".join(filter(None, (row.contender.title, row.contender.setting)))


def _ends(axes: Axes, rows: Sequence[Row]) -> None:
    load = rows[0].of_capacity
    axes.set_title("How requests ended" + ("" if load is None else f", at {load:g} of capacity"))
    left = [0.0] * len(rows)
    for name, (title, colour) in _ENDS.items():
        widths = [row.figure(name).median for row in rows]
        axes.barh(range(len(rows)), widths, left=left, color=colour, label=title, height=0.6)
        left = [each + width for each, width in zip(left, widths, strict=True)]
    _names(axes, rows)
    axes.legend(ncols=len(_ENDS), loc="upper center", bbox_to_anchor=(0.5, -0.06), frameon=False)


def _loads(axes: Axes, comparison: Comparison) -> None:
    """Goodput over load, both as multiples of capacity."""
    axes.set_title("Answers in time, as a fraction of capacity")
    axes.set_xlabel("load, as a multiple of capacity")
    capacity = comparison.scenario.capacity_per_s
    titles = list(dict.fromkeys(row.contender.title for row in comparison.rows))
    for title in titles:
        rows = [row for row in comparison.rows if row.contender.title == title and row.of_capacity is not None]
        load = [row.of_capacity or 0.0 for row in rows]
        axes.plot(load, [row.figure("goodput_per_s").median / capacity for row in rows], marker="o", label=title)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _course(axes: Axes, comparison: Comparison) -> None:
    """Of the first run of each contender."""
    scenario = comparison.scenario
    axes.set_title("Course: requests a second, offered and answered in time")
    axes.set_xlabel("s")
    part_s = scenario.duration_s / BUCKETS
    moments = [part_s * (index + 0.5) for index in range(BUCKETS)]
    first = comparison.rows[0].outcomes[0].course
    axes.plot(moments, [offered / part_s for offered, _ in first], color="black", linewidth=0.8, label="offered")
    for row in comparison.rows:
        rates = [in_time / part_s for _, in_time in row.outcomes[0].course]
        axes.plot(moments, rates, linewidth=1, label=row.contender.title)
    for event in scenario.events:
        axes.axvline(event.at_s, color="black", linewidth=0.6, linestyle=":")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _bars(axes: Axes, rows: Sequence[Row], name: str, title: str) -> None:
    axes.set_title(title)
    figures = [row.figure(name) for row in rows]
    shown = [each.median if isfinite(each.median) else 0.0 for each in figures]
    axes.barh(range(len(rows)), shown, color="#1f6f8b", height=0.6)
    for index, each in enumerate(figures):
        axes.text(shown[index], index, f" {each.median:.3g}" if isfinite(each.median) else " none", va="center")
    _names(axes, rows)


def _names(axes: Axes, rows: Sequence[Row]) -> None:
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8)
    axes.invert_yaxis()
