"""`isochrone simulate`: a table, JSON or a picture of a scenario, and what is wrong with one, by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from isochrone.cli import main

SMALL = """\
scenario: small
about: two nodes for half a second
duration_s: 0.5
routes:
  shop.v1.Ranker/Rank: {objective_ms: 15, deadline_ms: 40, lanes: [ranker@cpu]}
arrivals: {kind: poisson, of_capacity: 0.3}
devices:
  cpu: {cost_per_hour: 2, watts: 50}
pools:
  cpu:
    nodes: 2
    serves:
      ranker: {base_ms: 2, per_unit_ms: 0.25}
compare:
  - {batching: deadline, placement: planner}
  - {batching: size-or-timer, placement: lane, jobs: [4, 16], timer_ms: 2}
"""


def simulate(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(["simulate", *arguments])
    return int(left.value.code or 0)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def test_a_scenario_is_shown_as_a_table(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line for each contender, at the best of its settings."""
    assert simulate(str(small)) == 0
    shown = capsys.readouterr().out
    assert "small  two nodes for half a second" in shown
    assert "2 nodes, capacity 7,111/s" in shown
    assert "deadline, planner" in shown
    assert "best of 2" in shown
    assert "Wh/1,000" in shown


def test_as_json_it_has_every_run(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the load and the seed that were asked for."""
    assert simulate(str(small), "--json", "--runs", "2", "--seed", "5", "--load", "0.1") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seed"] == 5
    assert [len(row["runs"]) for row in found["rows"]] == [2, 2]
    first = found["rows"][0]["runs"][0]
    assert first["of_capacity"] == pytest.approx(0.1, rel=0.3)
    assert first["routes"][0]["route"] == "shop.v1.Ranker/Rank"


def test_highest_rates_are_looked_for_where_asked(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside how far the first contender is ahead."""
    small.write_text(SMALL + "search: {within: 0.95, precision: 0.2}\nsweep: {of_capacity: [0.2, 0.4]}\n")
    assert simulate(str(small)) == 0
    shown = capsys.readouterr().out
    assert "0.20 of capacity" in shown or "0.19 of capacity" in shown or "0.21 of capacity" in shown
    assert "the highest rate with 95.0% of all requests in time" in shown


@pytest.mark.parametrize("name", ["small.png", "small.svg"])
def test_it_can_be_drawn(small: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As PNG or SVG."""
    picture = small.parent / name
    assert simulate(str(small), "--plot", str(picture)) == 0
    assert picture.stat().st_size > 10_000
    assert "drawn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("nodes: 2", "nodes: 0", "11: pools.cpu.nodes: input should be greater than or equal to 1 (it is 0)"),
        ("nodes: 2", "knots: 2", "11: pools.cpu.knots: no such key; known here: device, nodes, serves"),
        ("lanes: [ranker@cpu]", "lanes: [ranker@gpu]", "no pool serves lane ranker@gpu; there is ranker@cpu"),
        ("of_capacity: 0.3", "cv: 4", "6: arrivals: "),
        ("objective_ms: 15", "objective_ms: 50", "5: routes.shop.v1.Ranker/Rank: objective_ms (50) should be at most"),
        ("placement: lane", "placement: planner", "16: compare.1: the planner foretells batches by deadline"),
        ("placement: lane,", "place: lane,", "16: compare.1.place: no such key; known here: batching, drops, jobs"),
        ("duration_s: 0.5", "", "duration_s: is required"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(
    small: Path, old: str, new: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is simulated."""
    small.write_text(SMALL.replace(old, new, 1))
    assert simulate(str(small)) == 2
    assert told in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("plot", ["small.pdf", "nowhere/small.png"])
def test_a_picture_that_can_not_be_drawn_is_refused_at_once(
    small: Path, plot: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after the simulation."""
    assert simulate(str(small), "--plot", str(small.parent / plot)) == 2
    assert "--plot" in capsys.readouterr().err
