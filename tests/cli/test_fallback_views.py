"""Fallbacks in the terminal: what stands in is said wherever a budget is drawn."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from isochrone.cli.in_words import sentence
from isochrone.cli.misses_view import view
from isochrone.cli.record import Record
from isochrone.cli.waterfall import Waterfall, fallback_in_words
from isochrone.v1.budget_pb2 import BudgetReport, Fallback

TOLD = {
    "route": "isochrone.v1.Recsys/Rank",
    "verdict": "fallback",
    "code": "OK",
    "reason": "OVERLOAD",
    "at": "2026-11-23T02:00:00.123Z",
    "objective_ms": 15,
    "total_ms": 2.5,
    "stages": [["admit", 0.5], ["queue", 0], ["batch_wait", 0], ["compute", 0], ["link", 0], ["answer", 2]],
    "fallback": {"source": "last_good", "route": "", "age_ms": 12_000, "reason": "OVERLOAD"},
}


def drawn(what: object) -> str:
    console = Console(file=io.StringIO(), width=100, legacy_windows=False)
    console.print(what)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    ("fallback", "words"),
    [
        (
            Fallback(source="last_good", age_ms=12_000, reason="OVERLOAD"),
            "last good answer, 12 s old, because OVERLOAD",
        ),
        (Fallback(source="last_good", age_ms=400, reason="NO_NODE"), "last good answer, 0.4 s old, because NO_NODE"),
        (
            Fallback(source="last_good", route="a.B/C", age_ms=7_200_000),
            "last good answer of a.B/C, 2 h old",
        ),
        (Fallback(source="static", reason="NO_NODE"), "static answer, because NO_NODE"),
        (
            Fallback(source="route", route="a.B/C", reason="INTERNAL"),
            "answer of another route, a.B/C, because INTERNAL",
        ),
        (Fallback(source="newer"), "fallback newer"),
    ],
)
def test_a_fallback_in_words(fallback: Fallback, words: str) -> None:
    """What it is, how old, and why."""
    assert fallback_in_words(fallback) == words


def test_the_waterfall_of_an_answer_says_what_stood_in() -> None:
    """In the place of the verdict, and below it, what."""
    report = BudgetReport(objective_us=15_000, deadline_us=100_000, total_us=2_500)
    report.fallback.CopyFrom(Fallback(source="last_good", age_ms=12_000, reason="OVERLOAD"))
    lines = drawn(Waterfall(report)).splitlines()
    assert lines[0].startswith("2.50 ms of 15 ms  fallback")
    assert lines[1] == "last good answer, 12 s old, because OVERLOAD"


def test_a_record_tells_it_as_well() -> None:
    """In the sentence, and in the table of misses."""
    record = Record.of(TOLD)
    assert record.report.fallback.age_ms == 12_000
    assert sentence(record) == ("Answered after 2.5 ms, by a fallback: last good answer, 12 s old, because OVERLOAD.")
    late = Record.of(TOLD | {"total_ms": 16})
    assert sentence(late).startswith("Answered after 16.0 ms, late by 1.0 ms, by a fallback")
    assert "OVERLOAD (fallback)" in drawn(view([record], limit=5, seen=1, since="10 min", route=""))


@pytest.mark.parametrize("told", [None, [], {}, {"age_ms": -1}, {"age_ms": "old", "source": 3}, {"age_ms": 2**80}])
def test_a_record_of_another_version_does_no_harm(told: object) -> None:
    """Whatever it has there."""
    record = Record.of(TOLD | {"fallback": told})
    assert record.report.fallback.age_ms == 0
    assert sentence(record)
