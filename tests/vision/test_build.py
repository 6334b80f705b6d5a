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
from rich.console import Console

from isochrone.building.making import BuildFailed
from isochrone.building.manifest import MANIFEST
from isochrone.building.repeatable import repeatable
from isochrone_vision.build import BUILDS, build_eye, is_current
from isochrone_vision.build.evaluation import Evaluation, neighbours_alike
from isochrone_vision.build.graph import to_onnx
from isochrone_vision.build.network import Network
from isochrone_vision.build.recipe import Bar, Recipe
from isochrone_vision.build.scene import LABELS, take_photos
from isochrone_vision.build.train import look, train
from isochrone_vision.manifest import MODEL, SAMPLES, Manifest


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
    report = build_eye(tmp_path / "again", recipe=tiny, console=console())
    assert Manifest.read(tmp_path / "again") == Manifest.read(built)
    assert report.size_bytes == sum(path.stat().st_size for path in built.iterdir())


def test_folder_holds_the_model_and_nothing_else(built: Path) -> None:
    """No leftovers, inside or beside it; every file but the manifest is signed."""
    assert {path.name for path in built.iterdir()} == {MODEL, SAMPLES, MANIFEST}
    assert not list(built.parent.glob(f".{built.name}*")), "what it worked in is gone"
    assert set(Manifest.read(built).sha256) == {MODEL, SAMPLES}


def test_build_says_how_good_the_model_is(tiny: Recipe, tmp_path: Path) -> None:
    """On the console and in the manifest."""
    out = io.StringIO()
    report = build_eye(tmp_path / "eye.fp32", recipe=tiny, console=Console(file=out, width=200))
    assert f"{report.metrics['accuracy']:.1%} are named rightly" in out.getvalue()
    assert f"{report.metrics['neighbours_alike']:.1%} have a nearest neighbour of their kind" in out.getvalue()
    assert Manifest.read(tmp_path / "eye.fp32").metrics == {
        "accuracy": report.metrics["accuracy"],
        "neighbours_alike": report.metrics["neighbours_alike"],
    }


def test_poor_model_is_not_published(tiny: Recipe, tmp_path: Path) -> None:
    """What was there before stays, and nothing is left beside it."""
    directory = tmp_path / "eye.fp32"
    directory.mkdir()
    (directory / "old").touch()
    with pytest.raises(BuildFailed, match="of photos rightly; the bar is 95%"):
        build_eye(directory, recipe=replace(tiny, bar=Bar()), console=console())
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["eye.fp32", "eye.fp32/old"]


@pytest.mark.parametrize(
    ("evaluation", "said"),
    [
        (Evaluation(accuracy=0.949, neighbours_alike=1), r"names 94\.9% of photos rightly; the bar is 95%"),
        (Evaluation(accuracy=1, neighbours_alike=0.94), r"94\.0% of photos have a nearest .*; the bar is 95%"),
        (Evaluation(accuracy=float("nan"), neighbours_alike=1), "names nan% of photos rightly"),
    ],
)
def test_both_bars_count(evaluation: Evaluation, said: str) -> None:
    """What is below either isn't published; neither is what has no number."""
    with pytest.raises(BuildFailed, match=said):
        evaluation.check(Bar())
    Evaluation(accuracy=0.95, neighbours_alike=0.95).check(Bar())


def test_the_nearest_neighbour_is_the_one_of_highest_cosine() -> None:
    gallery = np.array([[1, 0], [0, 1]], np.float32)
    embeddings = np.array([[0.8, 0.6], [0.6, 0.8], [-1, 0]], np.float32)
    share = neighbours_alike(embeddings, np.array([4, 5, 4]), gallery=gallery, gallery_kinds=np.array([4, 5]))
    assert share == pytest.approx(2 / 3)


def test_build_is_current_until_something_changes(built: Path, tiny: Recipe, tmp_path: Path) -> None:
    """The recipe, the sources, or the files: any of them."""
    assert is_current(built, recipe=tiny)
    assert not is_current(built, recipe=replace(tiny, seed=1))
    assert not is_current(tmp_path / "nowhere", recipe=tiny)
    copy = shutil.copytree(built, tmp_path / "copy")
    assert is_current(copy, recipe=tiny)
    (copy / SAMPLES).unlink()
    assert not is_current(copy, recipe=tiny)


@pytest.mark.parametrize("module", ["isochrone_vision.build", "isochrone_vision.model", "isochrone_vision.samples"])
def test_torch_is_for_building_alone(module: str) -> None:
    """Serving, sampling and asking whether a build is current import neither torch nor onnx."""
    run_alone(f"import sys, {module}; assert not {{'torch', 'onnx'}} & sys.modules.keys()")


def test_builds_are_listed_by_variant() -> None:
    """The command line offers what stands here."""
    assert dict(BUILDS) == {"eye.fp32": build_eye}


@pytest.mark.parametrize("package", ["torch", "PIL"])
def test_missing_package_is_named(tmp_path: Path, package: str) -> None:
    """Where one isn't installed, the error says what to install."""
    said = run_alone(
        f"""
import pathlib, sys
sys.modules["{package}"] = None
from isochrone.errors import ConfigError
from isochrone_vision.build import build_eye
try:
    build_eye(pathlib.Path({str(tmp_path)!r}))
except ConfigError as error:
    print(error)
"""
    )
    assert said == f"building a model needs {package}: pip install 'isochrone[build,vision]'\n"


def test_graph_sees_as_the_network_does(tiny: Recipe) -> None:
    """What is served is what was trained: batch norms are folded into the weights, with nothing lost."""
    photos = take_photos(96, side=tiny.side, rng=np.random.default_rng(1))
    with repeatable(seed=tiny.seed):
        network = train(photos, tiny)
    session = onnxruntime.InferenceSession(to_onnx(network, side=64, labels=len(LABELS)).SerializeToString())
    extremes = np.stack([np.zeros((64, 64, 3), np.uint8), np.full((64, 64, 3), 255, np.uint8)])
    pixels = np.concatenate([photos.pixels[:10], extremes])
    served = session.run(["probabilities", "embedding"], {"pixels": pixels})
    for one, other in zip(served, look(network, pixels), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_graph_has_no_batch_norms() -> None:
    """Each costs a pass over its channels, and none is left to pay for."""
    network = Network(len(LABELS)).eval()
    operators = {node.op_type for node in to_onnx(network, side=64, labels=len(LABELS)).graph.node}
    assert "Conv" in operators
    assert "BatchNormalization" not in operators
