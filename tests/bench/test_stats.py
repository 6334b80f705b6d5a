"""What rounds say together, and verdicts on it."""

from __future__ import annotations

from typing import Any

import pytest
from bench.result import CaseResult, Measurement, Verdict, beside, having, over, spread_of
from bench.stats import Spread, in_digits
from rich.console import Console

from bench import report


def _measured(contender: str, round: int, *, cpu_us: float = 100.0, p50_ms: float = 1.0, **more: Any) -> Measurement:
    requests = 1000
    data = {
        "answered": requests,
        "requests": requests,
        "window_s": 2.0,
        "errors": {},
        "closed": 64,
        "p50_ms": p50_ms,
        "p99_ms": 2 * p50_ms,
        "cpu_s": {"load": 0.2, "router": cpu_us * requests * 0.75e-6, "node-0": cpu_us * requests * 0.25e-6},
        "elsewhere_cpu_s": 0.0,
    }
    return Measurement(contender, "64 in flight", round, data | more)


def test_a_spread_is_the_median_between_the_extremes() -> None:
    """One slow round moves neither the median nor goes unseen."""
    assert Spread.of([3.0, 1.0, 10.0]) == Spread(median=3.0, low=1.0, high=10.0)
    assert str(Spread.of([3.0, 1.0, 10.0])) == "3.00 (1.00 to 10.0)"
    assert str(Spread.of([2.5])) == "2.50"
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


@pytest.mark.parametrize(
    ("value", "text"), [(0.4213, "0.42"), (15.13, "15.1"), (1440.4, "1,440"), (-0.5, "-0.50"), (236.4, "236")]
)
def test_figures_have_about_three_digits(value: float, text: str) -> None:
    """More would pretend to be known."""
    assert in_digits(value) == text


def test_a_request_costs_the_cpu_of_all_serving_processes() -> None:
    """The load generator's own share is left out."""
    measured = _measured("mesh", 1, cpu_us=400.0)
    assert measured.server_cpu_us == pytest.approx({"router": 300.0, "node-0": 100.0})
    assert measured.cpu_us == pytest.approx(400.0)
    assert measured.rate == 500.0
    assert measured.busy_load_cores == pytest.approx(0.1)


def test_sides_are_compared_round_by_round() -> None:
    """A machine that is slower in one round is slower for both, and the ratio stands."""
    found = [_measured("mesh", 2, cpu_us=600.0), _measured("mesh", 1, cpu_us=400.0)]
    found += [_measured("floor", 1, cpu_us=200.0), _measured("floor", 2, cpu_us=300.0)]
    ours, theirs = having(found, "mesh", "64 in flight"), having(found, "floor", "64 in flight")
    assert [each.round for each in ours] == [1, 2]
    assert over(ours, theirs, "cpu_us").median == pytest.approx(2.0)
    assert over(ours, theirs, "cpu_us", minus=True).high == pytest.approx(300.0)
    assert spread_of(theirs, "cpu_us").median == pytest.approx(250.0)
    assert beside(ours, theirs, "cpu_us", "µs") == "500 against 250 µs"


def test_a_verdict_goes_by_the_median() -> None:
    """A limit that is just reached is met, from either side."""
    assert Verdict("cost", "≤", 2.0, "x", Spread(2.0, 1.0, 9.0)).met
    assert not Verdict("cost", "≤", 2.0, "x", Spread(2.1, 1.0, 9.0)).met
    assert Verdict("share", "≥", 0.85, "x", Spread(0.85, 0.1, 1.0)).met
    assert not Verdict("share", "≥", 0.85, "x", Spread(0.8, 0.1, 1.0)).met


def _result(*measurements: Measurement) -> CaseResult:
    verdicts = [
        Verdict("cost", "≤", 2.0, "x", Spread(1.5, 1.0, 1.8), "300 against 200 µs"),
        Verdict("share", "≥", 0.85, "x", Spread(0.5, 0.5, 0.5)),
    ]
    return CaseResult("echo", "unary echo", "all on core 0", verdicts, list(measurements))


def test_the_tables_say_target_measured_and_outcome() -> None:
    """A reader finds figure, limit, verdict, and the processes that the CPU went to."""
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as capture:
        report.show([_result(_measured("mesh", 1, cpu_us=400.0))], ["this machine"], console)
    text = capture.get()
    for expected in (
        "cost: ≤ 2 x",
        "1.50 (1.00 to 1.80) x",
        "300 against 200 µs",
        "met",
        "share: ≥ 0.85 x",
        "missed",
        "router 300, node-0 100",
        "mesh, 64 in flight",
        "all on core 0",
        "this machine",
    ):
        assert expected in text


def test_doubts_are_said() -> None:
    """Figures that others on the machine, or the load generator itself, may have spoilt are marked."""
    assert report.doubts(_result(_measured("mesh", 1))) == []
    (busy,) = report.doubts(_result(_measured("mesh", 1, elsewhere_cpu_s=1.0)))
    assert "up to 0.50 cores busy" in busy
    (limited,) = report.doubts(_result(_measured("mesh", 1, cpu_s={"load": 1.99, "router": 0.1})))
    assert "at its limit" in limited


def test_the_json_has_verdicts_and_every_round() -> None:
    """What is on disk suffices to draw any of it again."""
    found = _result(_measured("mesh", 1), _measured("mesh", 2)).as_json()
    assert [verdict["met"] for verdict in found["verdicts"]] == [True, False]
    assert [each["round"] for each in found["measurements"]] == [1, 2]
    assert found["measurements"][0]["data"]["p50_ms"] == 1.0
