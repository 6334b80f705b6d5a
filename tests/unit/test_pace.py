"""Emulated devices: how batches differ, and how a test slows a node down while it runs."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest

from isochrone.testing.models import SleepModel
from isochrone.testing.pace import Pace
from isochrone.testing.v1 import toy_pb2


def test_a_file_says_how_many_times_slower(tmp_path: Path) -> None:
    """Looked at before each batch; without it, as ever."""
    file, slept = tmp_path / "pace", list[float]()
    model = SleepModel(sleep_ms=10, pace=Pace(file=file), sleep=slept.append)
    batch = [toy_pb2.ToyMessage()]
    model.forward(batch)
    for factor in (3, 0.5):
        Pace.tell(file, factor)
        model.forward(batch)
    file.unlink()
    model.forward(batch)
    assert slept == pytest.approx([0.010, 0.030, 0.005, 0.010])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "soon", "nan", "inf", "-1"])
def test_what_is_no_pace_changes_nothing(tmp_path: Path, content: str) -> None:
    """A toy goes on as ever."""
    file = tmp_path / "pace"
    file.write_text(content)
    assert Pace(file=file).factor() == 1.0


def test_batches_differ_the_same_way_in_each_run() -> None:
    """Around what they take without it, by the spread that is given."""
    pace, again = Pace(spread=0.3), Pace(spread=0.3)
    factors = [pace.factor() for _ in range(2000)]
    assert factors == [again.factor() for _ in range(2000)]
    assert statistics.median(factors) == pytest.approx(1, abs=0.03)
    assert min(factors) > 0
    assert {Pace().factor() for _ in range(10)} == {1.0}
