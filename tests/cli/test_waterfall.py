"""A budget's waterfall: each stage where it began, as long as it took, and what was left or over."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from isochrone.cli.waterfall import Bar, Waterfall, bars
from isochrone.v1.budget_pb2 import BatchInfo, BudgetReport

STAGE_US = [500, 1500, 1000, 6000, 500, 500]  # admit, queue, batch wait, compute, link, answer


def report(**changes: object) -> BudgetReport:
    made = BudgetReport(
        objective_us=15_000,
        deadline_us=100_000,
        total_us=10_000,
        stage_us=STAGE_US,
        lane="ranker.fp32@cpu",
        node="recsys-1",
        attempts=1,
        batch=BatchInfo(jobs=4, units=400, closed_by="all"),
        units=100,
    )
    made.MergeFrom(BudgetReport(**changes))
    return made


def drawn(of: BudgetReport, *, width: int = 94, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    console = Console(file=file, width=width, legacy_windows=False)
    console.print(Waterfall(of))
    file.seek(0)
    return file.read().splitlines()


def test_stages_follow_each_other() -> None:
    """Each begins where the one before ended."""
    assert bars(report())[:3] == [Bar("admit", 0, 500), Bar("queue", 500, 1500), Bar("batch wait", 2000, 1000)]


def test_it_says_the_verdict_the_way_and_the_batch() -> None:
    """The line above has the figures that matter; the one below says who did it."""
    lines = drawn(report())
    assert lines[0] == "10.00 ms of 15 ms  in time  (deadline 100 ms)"
    assert lines[-1] == "ranker.fp32@cpu · on recsys-1 · batch of 4 requests, 400 units: all that waited"


def test_bars_are_in_proportion_on_an_axis_that_ends_at_the_objective() -> None:
    """60 cells for 15 ms: compute has 24 of them, and a third is to spare."""
    lines = {line[:10].strip(): line[12:72] for line in drawn(report())[1:-1]}
    assert lines["compute"] == " " * 12 + "█" * 24 + " " * 24
    assert lines["to spare"] == " " * 40 + "░" * 20
    assert all(len(line) == 60 for line in lines.values())


def test_a_miss_is_drawn_to_its_end_and_nothing_is_to_spare() -> None:
    """The axis grows with it."""
    lines = drawn(report(total_us=40_000, missed=True, stage_us=[30_000]))
    assert lines[0] == "40.00 ms of 15 ms  missed  (deadline 100 ms)"
    assert "200 %" in lines[7]
    assert not any("to spare" in line for line in lines)


def test_what_took_any_time_is_seen() -> None:
    """A microsecond has its sliver, also at the very end."""
    short = BudgetReport(objective_us=15_000, total_us=15_000, stage_us=[1, 14_998, 1])
    lines = drawn(short)
    assert lines[1][12] == "▏"
    assert lines[3][71] == "▏"


def test_a_second_attempt_and_a_direct_one_are_named() -> None:
    """They say why an answer was slow."""
    lines = drawn(report(attempts=2, direct=True), width=120)
    assert lines[-1].endswith(": all that waited · attempt 2 · over the link")


def test_a_stage_of_a_newer_router_keeps_its_number() -> None:
    """Nothing is left out."""
    newer = BudgetReport(objective_us=1000, total_us=500, stage_us=[0] * 16 + [500])
    assert drawn(newer)[17].startswith("  stage 17  ███")


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_it_fits_any_terminal(width: int) -> None:
    """Bars shrink first; wide terminals don't stretch them without end."""
    for line in drawn(report(), width=width)[1:-2]:
        assert len(line) <= max(width, 44)
        assert len(line) <= 114


def test_a_terminal_without_unicode_gets_letters() -> None:
    """Bars of # and dots."""
    lines = drawn(report(), encoding="ascii")
    assert "#" * 24 in lines[4]
    assert lines[7].rstrip().endswith("33 %")
    assert "." * 20 in lines[7]


def test_an_empty_report_is_no_trouble() -> None:
    """A node called directly may say next to nothing."""
    assert drawn(BudgetReport())[0].startswith("0.00 ms of 0 ms  in time")
