"""The demo shows the mesh at work, and its exit code says whether it did."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from isochrone.cli.demo_view import bar, floored_percent, load_summary, ranking_table
from isochrone.cli.load import Tally

ROOT = Path(__file__).parents[2]


def drawn(renderable: object) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_ranking_is_read_from_the_top() -> None:
    """Titles, probabilities, and bars relative to the best."""
    lines = drawn(ranking_table(["oak lamp, red", "wool rug, blue"], [0.5, 0.25])).splitlines()
    assert lines[1].split() == ["1", "oak", "lamp,", "red", "50.0", "%", "█" * 20]
    assert lines[2].split()[-1] == "█" * 10


def test_the_summary_has_the_figures_that_matter() -> None:
    """Rate, percentiles, attainment against its aim, batches and nodes."""
    tally = Tally(sent=103, latencies_ms=[1.0] * 98 + [20.0, 20.0], kept=99, took_s=0.5)
    tally.errors["Overloaded"] = 3
    tally.batches.update({1: 60, 4: 40})
    tally.nodes.update({"recsys-0": 75, "recsys-1": 25})
    text = drawn(load_summary(tally, objective_ms=15, target=0.999))
    assert "206 requests/s for 0.5 s, 100 answered" in text
    assert "p50 1.00 ms   p99 20.00 ms" in text
    assert "96.11 % within 15 ms at the router   aim 99.9 %" in text
    assert "95.14 % as this client sees it" in text
    assert "3 Overloaded" in text
    rows = [" ".join(line.split()) for line in text.splitlines()]
    assert f"batches 1 request {'█' * 40} 60" in rows
    assert f"4 requests {'█' * 6}▋ 10" in rows
    assert f"nodes recsys-0 {'█' * 40} 75 %" in rows


def test_an_empty_summary_is_no_trouble() -> None:
    """Nothing was sent, nothing ran."""
    assert "0 answered" in drawn(load_summary(Tally(), objective_ms=15, target=0.999))


def test_many_batch_sizes_are_cut_short() -> None:
    """The rare large ones are counted together."""
    tally = Tally(sent=1, took_s=1)
    tally.batches.update({size: size for size in range(1, 40)})
    assert drawn(load_summary(tally, objective_ms=15, target=0.999)).count("request") == 13 + 1


@pytest.mark.parametrize(
    ("fraction", "said"), [(1, "100 %"), (0.999999, "99.99 %"), (0.99949, "99.94 %"), (0.5, "50 %"), (0, "0 %")]
)
def test_percentages_are_never_rounded_up(fraction: float, said: str) -> None:
    """A promise that was missed once was missed."""
    assert floored_percent(fraction) == said


def test_bars_are_drawn_to_an_eighth() -> None:
    """And what is there at all is seen."""
    assert (bar(0, 8), bar(1e-9, 8), bar(0.5, 8), bar(9 / 64, 8), bar(2, 8)) == ("", "▏", "████", "█▏", "████████")


def a_mesh(folder: Path, models: Path, *, listen: str = "127.0.0.1:0") -> Path:
    """A file like the shop's, with other models and addresses."""
    mesh = (ROOT / "deploy" / "mesh.yaml").read_text()
    mesh = mesh.replace("127.0.0.1:50051", listen).replace("127.0.0.1:8080", "127.0.0.1:0")
    path = folder / "mesh.yaml"
    path.write_text(f"models: {models}\n{mesh}")
    return path


def run_demo(folder: Path, path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "isochrone.cli", "demo", str(path), "--seconds", "1", *options]
    # Torch leaves a folder behind wherever it is imported; that one is not ours to tidy.
    environment = {**os.environ, "CI": "true", "TORCHINDUCTOR_CACHE_DIR": str(folder / "torch")}
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, check=False)


@pytest.mark.processes
def test_the_demo_works_and_leaves_by_itself(tmp_path: Path, tiny_models: Path) -> None:
    """Elsewhere than in a terminal; with the usual port taken it takes another, and says so."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        path = a_mesh(tmp_path, tiny_models, listen=f"127.0.0.1:{port}")
        done = run_demo(tmp_path, path, "--no-build")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"127.0.0.1:{port} is in use, so router.listen is 127.0.0.1:" in done.stdout
    for words in ("One product page", "lately looked at", "labels", "embedding", "text", "chunks", "compute"):
        assert words in done.stdout
    for words in ("within 15 ms", "recsys-1", "batches", "photos", "texts"):
        assert words in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.processes
def test_a_model_that_cannot_be_built_ends_the_demo(tmp_path: Path) -> None:
    """Before anything is started, with the builder's own words."""
    path = a_mesh(tmp_path, Path("/proc/nowhere"))
    done = run_demo(tmp_path, path)
    assert done.returncode not in (0, 1)
    assert "/proc/nowhere" in done.stderr
    assert "is ready" not in done.stdout
