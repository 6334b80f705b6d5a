"""A build is repeatable, is published whole or not at all, and is known to be current without torch."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from rich.console import Console

from isochrone.building.making import BuildFailed
from isochrone.building.manifest import MANIFEST
from isochrone.building.repeatable import repeatable
from isochrone_recsys.build import BUILDS, build_ranker, is_current
from isochrone_recsys.build.graph import to_onnx
from isochrone_recsys.build.recipe import Bar, Recipe
from isochrone_recsys.build.train import train
from isochrone_recsys.build.world import generate_world
from isochrone_recsys.manifest import CATALOGUE, MODEL, SAMPLES, Manifest


def console() -> Console:
    return Console(file=io.StringIO(), width=200)


def run_alone(code: str) -> str:
    """What the code prints in an interpreter of its own."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    return subprocess.run(
        [sys.executable, "-c", code], check=True, env=environment, stdout=subprocess.PIPE, text=True
    ).stdout


def test_same_recipe_same_bytes(built: Path, tiny: Recipe, tmp_path: Path) -> None:
    """Two builds differ in nothing, so that a checksum names a model anywhere."""
    report = build_ranker(tmp_path / "again", recipe=tiny, console=console())
    assert Manifest.read(tmp_path / "again") == Manifest.read(built)
    assert report.size_bytes == sum(path.stat().st_size for path in built.iterdir())


def test_folder_holds_the_model_and_nothing_else(built: Path) -> None:
    """No leftovers, inside or beside it; every file but the manifest is signed."""
    assert {path.name for path in built.iterdir()} == {MODEL, CATALOGUE, SAMPLES, MANIFEST}
    assert not list(built.parent.glob(f".{built.name}*")), "what it worked in is gone"
    assert set(Manifest.read(built).sha256) == {MODEL, CATALOGUE, SAMPLES}


def test_build_says_how_good_the_model_is(tiny: Recipe, tmp_path: Path) -> None:
    """Beside the oracle and popularity, on the console and in the manifest."""
    out = io.StringIO()
    report = build_ranker(tmp_path / "ranker.fp32", recipe=tiny, console=Console(file=out, width=200))
    assert (
        f"held-out AUC {report.metrics['auc']:.4f}; the oracle's {report.metrics['oracle_auc']:.4f}" in out.getvalue()
    )
    assert Manifest.read(tmp_path / "ranker.fp32").metrics["auc"] == report.metrics["auc"]


def test_poor_model_is_not_published(tiny: Recipe, tmp_path: Path) -> None:
    """What was there before stays, and nothing is left beside it."""
    directory = tmp_path / "ranker.fp32"
    directory.mkdir()
    (directory / "old").touch()
    with pytest.raises(BuildFailed, match="oracle's lift"):
        build_ranker(directory, recipe=replace(tiny, bar=Bar()), console=console())
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["ranker.fp32", "ranker.fp32/old"]


def test_build_is_current_until_something_changes(built: Path, tiny: Recipe, tmp_path: Path) -> None:
    """The recipe, the sources, or the files: any of them."""
    assert is_current(built, recipe=tiny)
    assert not is_current(built, recipe=replace(tiny, seed=1))
    assert not is_current(tmp_path / "nowhere", recipe=tiny)
    copy = shutil.copytree(built, tmp_path / "copy")
    assert is_current(copy, recipe=tiny)
    (copy / SAMPLES).unlink()
    assert not is_current(copy, recipe=tiny)


@pytest.mark.parametrize("module", ["isochrone_recsys.build", "isochrone_recsys.model", "isochrone_recsys.samples"])
def test_torch_is_for_building_alone(module: str) -> None:
    """Serving, sampling and asking whether a build is current import neither torch nor onnx."""
    run_alone(f"import sys, {module}; assert not {{'torch', 'onnx'}} & sys.modules.keys()")


def test_builds_are_listed_by_variant() -> None:
    """The command line offers what stands here."""
    assert dict(BUILDS) == {"ranker.fp32": build_ranker}


def test_missing_package_is_named(tmp_path: Path) -> None:
    """Where torch isn't installed, the error says what to install."""
    said = run_alone(
        f"""
import pathlib, sys
sys.modules["torch"] = None
from isochrone.errors import ConfigError
from isochrone_recsys.build import build_ranker
try:
    build_ranker(pathlib.Path({str(tmp_path)!r}))
except ConfigError as error:
    print(error)
"""
    )
    assert said == "building a model needs torch: pip install 'isochrone[build,recsys]'\n"


def test_graph_scores_as_the_model_does(tiny: Recipe) -> None:
    """What is served is what was trained, for users with few recent items and absurd features, too."""
    world = generate_world(tiny)
    with repeatable(seed=tiny.seed):
        model = train(world, tiny)
    session = onnxruntime.InferenceSession(to_onnx(model, world.shapes).SerializeToString())
    visits = world.held_out
    dense, recent = visits.dense.copy(), visits.recent.copy()
    dense[0] = 1e30
    recent[1] = world.shapes.items
    item_index = visits.slate.ravel()
    row_to_user = np.repeat(np.arange(len(visits)), visits.slate.shape[1])
    counts = (recent < world.shapes.items).sum(axis=1, keepdims=True)
    (served,) = session.run(
        ["probability"],
        {
            "user_dense": dense,
            "user_categories": visits.categories,
            "recent_items": recent,
            "recent_share": (1 / np.maximum(counts, 1)).astype(np.float32),
            "item_index": item_index,
            "row_to_user": row_to_user,
        },
    )
    with torch.no_grad():
        log_odds = model(*map(torch.from_numpy, (dense, visits.categories, recent, item_index, row_to_user)))
    np.testing.assert_allclose(served, torch.sigmoid(log_odds).numpy(), atol=1e-6)
