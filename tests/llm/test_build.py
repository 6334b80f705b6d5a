"""A build is repeatable, is published whole or not at all, and is known to be current without torch."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
from rich.console import Console

from isochrone.building.making import BuildFailed
from isochrone.building.manifest import MANIFEST
from isochrone.errors import ConfigError
from isochrone_llm.build import BUILDS, build_blurb, is_current
from isochrone_llm.build.recipe import Bar, Recipe
from isochrone_llm.manifest import CONFIG, GENERATION, SAMPLES, TOKENIZER, WEIGHTS, Manifest
from isochrone_llm.samples import Samples, sample_requests

LEAST = Recipe(
    vocabulary=300, hidden=16, feed_forward=16, layers=1, texts=64, held_out=8, samples=4, bar=Bar(right=0.0)
)
"""A build of half a second, where it doesn't matter what is learnt."""


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def run_alone(code: str) -> str:
    """What the code prints in an interpreter of its own."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.PIPE, text=True
    ).stdout


def test_same_recipe_same_bytes(tmp_path: Path) -> None:
    """Two builds differ in nothing, so that a checksum names a model anywhere."""
    report = build_blurb(tmp_path / "one", recipe=LEAST, console=console())
    build_blurb(tmp_path / "two", recipe=LEAST, console=console())
    assert Manifest.read(tmp_path / "one") == Manifest.read(tmp_path / "two")
    assert report.size_bytes == sum(path.stat().st_size for path in (tmp_path / "two").iterdir())


def test_folder_holds_the_model_and_nothing_else(built: Path) -> None:
    """No leftovers, inside or beside it; every file but the manifest is signed."""
    signed = {CONFIG, GENERATION, TOKENIZER, WEIGHTS, SAMPLES}
    assert {path.name for path in built.iterdir()} == signed | {MANIFEST}
    assert not list(built.parent.glob(f".{built.name}*")), "what it worked in is gone"
    assert set(Manifest.read(built).sha256) == signed
    assert {path.stat().st_mode & 0o400 for path in built.iterdir()} == {0o400}


def test_build_says_how_good_the_model_is(tmp_path: Path) -> None:
    """On the console and in the manifest."""
    out = io.StringIO()
    report = build_blurb(tmp_path / "blurb.fp32", recipe=LEAST, console=Console(file=out, width=200))
    assert f"held-out blurbs: {report.metrics['parsed']:.1%} parse" in out.getvalue()
    assert Manifest.read(tmp_path / "blurb.fp32").metrics["right"] == report.metrics["right"]


def test_tiny_model_has_learnt_something(built: Path) -> None:
    """Enough for tests of the engine to see real sentences."""
    assert Manifest.read(built).metrics["parsed"] > 0.3


def test_poor_model_is_not_published(tmp_path: Path) -> None:
    """What was there before stays, and nothing is left beside it."""
    directory = tmp_path / "blurb.fp32"
    directory.mkdir()
    (directory / "old").touch()
    with pytest.raises(BuildFailed, match=r"0\.0% of held-out blurbs state what their prompts do; the bar is 95%"):
        build_blurb(directory, recipe=replace(LEAST, bar=Bar()), console=console())
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["blurb.fp32", "blurb.fp32/old"]


def test_build_is_current_until_something_changes(built: Path, tiny: Recipe, tmp_path: Path) -> None:
    """The recipe, the sources, or the files: any of them."""
    assert is_current(built, recipe=tiny)
    assert not is_current(built, recipe=replace(tiny, seed=1))
    assert not is_current(tmp_path / "nowhere", recipe=tiny)
    copy = shutil.copytree(built, tmp_path / "copy")
    assert is_current(copy, recipe=tiny)
    content = json.loads((copy / MANIFEST).read_text())
    (copy / MANIFEST).write_text(json.dumps(content | {"fingerprint": "of older sources"}))
    assert not is_current(copy, recipe=tiny)
    (copy / MANIFEST).write_text(json.dumps(content))
    (copy / SAMPLES).unlink()
    assert not is_current(copy, recipe=tiny)


@pytest.mark.parametrize(
    "module", ["isochrone_llm.build", "isochrone_llm.engine", "isochrone_llm.request", "isochrone_llm.samples"]
)
def test_torch_is_for_models_alone(module: str) -> None:
    """Asking whether a build is current, sampling, and speaking of engines import no torch."""
    run_alone(f"import sys, {module}; assert 'torch' not in sys.modules")


def test_builds_are_listed_by_variant() -> None:
    """The command line offers what stands here."""
    assert dict(BUILDS) == {"blurb.fp32": build_blurb}


def test_missing_package_is_named(tmp_path: Path) -> None:
    """Where torch isn't installed, the error says what to install."""
    said = run_alone(
        f"""
import pathlib, sys
sys.modules["torch"] = None
from isochrone.errors import ConfigError
from isochrone_llm.build import build_blurb
try:
    build_blurb(pathlib.Path({str(tmp_path)!r}))
except ConfigError as error:
    print(error)
"""
    )
    assert said == "building a model needs torch: pip install 'isochrone[build,llm]'\n"


def test_samples_are_held_out_prompts(built: Path, tiny: Recipe) -> None:
    """All different, and requests of them are the same for the same seed."""
    prompts = Samples.load(built).prompts
    assert len(set(prompts)) == tiny.samples
    first, again, other = (list(islice(sample_requests(built, seed=seed), 5)) for seed in (1, 1, 2))
    assert first == again != other
    assert {request.prompt for request in first} <= set(prompts)


def test_without_a_model_there_are_no_samples(tmp_path: Path) -> None:
    """The error is raised at once, not at the first request."""
    with pytest.raises(ConfigError, match="isochrone models build"):
        sample_requests(tmp_path)
