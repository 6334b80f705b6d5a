"""Building an eye: photos, a network that learns them, the judgement, and the folder that is served from."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import PIL
import torch
from rich.console import Console

from isochrone.building.making import BuildFailed, BuildReport, progress
from isochrone.building.manifest import checksums
from isochrone.building.publish import published
from isochrone.building.repeatable import repeatable
from isochrone_vision.build.evaluation import Evaluation, neighbours_alike
from isochrone_vision.build.graph import to_onnx
from isochrone_vision.build.network import DIMENSIONS, Network
from isochrone_vision.build.recipe import VARIANT, Recipe
from isochrone_vision.build.scene import LABELS, Photos, take_photos
from isochrone_vision.build.train import look, train
from isochrone_vision.manifest import MODEL, SAMPLES, Manifest
from isochrone_vision.samples import Samples

_TOLERANCE = 1e-4
"""The largest difference in any output between the graph and the network: rounding, in another order of sums."""
_COMPARED_PHOTOS = 64


def build_eye(out_dir: Path, *, recipe: Recipe, console: Console) -> BuildReport:
    """Builds the recipe's eye and puts it at `out_dir`. Raises BuildFailed, leaving what was there."""
    start = time.monotonic()
    with progress(console) as step, repeatable(seed=recipe.seed):
        photos, held_out, gallery = _take_all(recipe, step)
        network = train(photos, recipe, advance=step("Training", recipe.passes * recipe.train_photos))
        evaluation = _judge(network, held_out, gallery)
        _show(evaluation, console)
        evaluation.check(recipe.bar)
        graph = to_onnx(network, side=recipe.side, labels=len(LABELS)).SerializeToString()
        _compare(graph, network, held_out)
    with published(out_dir) as folder:
        (folder / MODEL).write_bytes(graph)
        shown = [LABELS[kind] for kind in held_out.kinds[: recipe.sample_photos]]
        Samples(photos=held_out.files, labels=shown).save(folder)
        size_bytes = _sign(folder, recipe, evaluation)
    return BuildReport(
        directory=out_dir,
        variant=VARIANT,
        metrics=evaluation.metrics,
        seconds=time.monotonic() - start,
        size_bytes=size_bytes,
    )


def _take_all(recipe: Recipe, step: Callable[[str, int], Callable[[int], object]]) -> tuple[Photos, Photos, Photos]:
    """Photos to learn from, held-out ones, and the gallery."""
    counts = (recipe.train_photos, recipe.held_out_photos, recipe.gallery_photos)
    advance = step("Taking photos", sum(counts))
    # A generator for each part, so that changing the size of one leaves the others as they were.
    rngs = np.random.default_rng(recipe.seed).spawn(3)
    photos, held_out, gallery = (
        take_photos(count, side=recipe.side, rng=rng, kept_files=kept, advance=advance)
        for count, rng, kept in zip(counts, rngs, (0, recipe.sample_photos, 0), strict=True)
    )
    return photos, held_out, gallery


def _judge(network: Network, held_out: Photos, gallery: Photos) -> Evaluation:
    probabilities, embeddings = look(network, held_out.pixels)
    _, gallery_embeddings = look(network, gallery.pixels)
    return Evaluation(
        accuracy=float((probabilities.argmax(axis=1) == held_out.kinds).mean()),
        neighbours_alike=neighbours_alike(
            embeddings, held_out.kinds, gallery=gallery_embeddings, gallery_kinds=gallery.kinds
        ),
    )


def _show(evaluation: Evaluation, console: Console) -> None:
    console.print(
        f"  of held-out photos {evaluation.accuracy:.1%} are named rightly, and {evaluation.neighbours_alike:.1%} "
        "have a nearest neighbour of their kind",
        highlight=False,
        soft_wrap=True,
    )


def _compare(graph: bytes, network: Network, photos: Photos) -> None:
    """Runs graph and network on the same photos. Raises BuildFailed where they differ."""
    few = photos.pixels[:_COMPARED_PHOTOS]
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    served = session.run(["probabilities", "embedding"], {"pixels": few})
    difference = max(float(np.abs(one - other).max()) for one, other in zip(served, look(network, few), strict=True))
    if not difference <= _TOLERANCE:  # so that NaN fails, too
        raise BuildFailed(f"the ONNX graph differs from the network by {difference:.2g}")


def _sign(folder: Path, recipe: Recipe, evaluation: Evaluation) -> int:
    """Writes the manifest of the other files in `folder`; returns the bytes of all."""
    Manifest(
        variant=VARIANT,
        fingerprint=recipe.fingerprint(),
        seed=recipe.seed,
        side=recipe.side,
        labels=LABELS,
        dimensions=DIMENSIONS,
        metrics=evaluation.metrics,
        versions={
            "python": platform.python_version(),
            "numpy": np.__version__,
            "pillow": PIL.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        sha256=checksums(folder, (MODEL, SAMPLES)),
    ).write(folder)
    return sum(path.stat().st_size for path in folder.iterdir())
