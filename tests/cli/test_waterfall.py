"""A budget's waterfall: each stage where it began, as long as it took, and what was left or over."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from isochrone.cli.plan_in_words import plain
from isochrone.cli.waterfall import Bar, Waterfall, bars
from isochrone.v1.budget_pb2 import BatchInfo, BudgetReport, Decision

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
    assert lines[-1] == "sent twice · over the link"
    assert drawn(report(attempts=2, won=1))[-1] == "sent twice, the first answered"
    assert drawn(report(attempts=4, won=4))[-1] == "sent 4 times, the 4th answered"


def test_it_says_what_was_planned_and_what_that_cost() -> None:
    """In three lines, which fit a terminal of 80 columns: the plan, who did it, and the rest."""
    decision = Decision(why="cheapest", expected_us=3100, quantile_us=6000, target=0.999, cost=0.00042)
    assert drawn(report(decision=decision), width=80)[-3:] == [
        "ranker.fp32@cpu, the cheapest in time · expected 3.10 ms, 99.9 % within 6.00 ms",
        "on recsys-1 · batch of 4 requests, 400 units: all that waited",
        "cost 0.42 per 1,000 such answers",
    ]


@pytest.mark.parametrize(
    ("why", "said"),
    [
        ("late", "late: planned past its objective"),
        ("smaller", "a smaller variant: no other would be in time"),
        ("fastest", "the fastest: none was sure to be in time"),
        ("addressed", "by its link, past the lane"),
        ("news", "news"),
    ],
)
def test_why_it_went_there(why: str, said: str) -> None:
    """In words; one that a newer router has stands as it is."""
    decision = Decision(why=why, expected_us=23_000)
    assert drawn(report(decision=decision))[-2] == f"ranker.fp32@cpu, {said} · expected 23.0 ms"


def test_a_lane_that_it_was_not_planned_for_is_not_said_to_be() -> None:
    """A second attempt may have gone to another one."""
    decision = Decision(why="cheapest", expected_us=3100)
    plan, where, rest = drawn(report(decision=decision, attempts=2, won=2))[-3:]
    assert plan == "the cheapest in time · expected 3.10 ms"
    assert where.startswith("ranker.fp32@cpu · on recsys-1")
    assert rest == "sent twice, the second answered"


def test_a_refusal_says_what_was_expected_and_when_to_come_back() -> None:
    """It has no stages to speak of."""
    decision = Decision(why="OVERLOAD", expected_us=23_000, retry_after_us=8_000, target=0.999)
    refused = BudgetReport(objective_us=15_000, total_us=80, stage_us=[80, 0, 0, 0, 0, 0], decision=decision)
    assert drawn(refused)[-1] == "refused, OVERLOAD: expected 23.0 ms · come back in 8.00 ms"
    refused.decision.CopyFrom(Decision(why="QUOTA"))
    assert drawn(refused)[-1] == "refused, QUOTA"


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


@pytest.mark.parametrize(
    ("value", "said"), [(0.42, "0.42"), (0.0000171234, "0.0000171"), (294.4, "294"), (12345.6, "12,346"), (0.0, "0")]
)
def test_costs_are_said_without_exponents(value: float, said: str) -> None:
    """However small they are."""
    assert plain(value) == said
