"""Building a ranker: a world, a model that learns it, the judgement, and the folder that is served from."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from rich.console import Console

from isochrone.building.making import BuildFailed, BuildReport, progress
from isochrone.building.manifest import checksums
from isochrone.building.publish import published
from isochrone.building.repeatable import repeatable
from isochrone_recsys.build.dlrm import DLRM
from isochrone_recsys.build.evaluation import Evaluation, auc
from isochrone_recsys.build.graph import to_onnx
from isochrone_recsys.build.recipe import VARIANT, Recipe
from isochrone_recsys.build.train import predict, train
from isochrone_recsys.build.world import World, generate_world, visits_in
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.manifest import CATALOGUE, MODEL, SAMPLES, Manifest
from isochrone_recsys.model import feed
from isochrone_recsys.query import Query
from isochrone_recsys.samples import Samples

_TOLERANCE = 1e-5
"""The largest difference in probability between the graph and the model: rounding, in another order of sums."""
_COMPARED_VISITS = 64


def build_ranker(out_dir: Path, *, recipe: Recipe, console: Console) -> BuildReport:
    """Builds the recipe's ranker and puts it at `out_dir`. Raises BuildFailed, leaving what was there."""
    start = time.monotonic()
    with progress(console) as step, repeatable(seed=recipe.seed):
        world = generate_world(recipe, advance=step("Generating visits", visits_in(recipe)))
        model = train(world, recipe, advance=step("Training", recipe.train_visits))
        evaluation = Evaluation(
            model=auc(predict(model, world.held_out), world.held_out.clicked),
            oracle=auc(world.held_out.probability, world.held_out.clicked),
            popularity=auc(world.popularity[world.held_out.slate], world.held_out.clicked),
        )
        _show(evaluation, console)
        evaluation.check(recipe.bar)
        graph = to_onnx(model, world.shapes).SerializeToString()
        _compare(graph, model, world)
    with published(out_dir) as folder:
        (folder / MODEL).write_bytes(graph)
        Catalogue(ids=world.items.ids, titles=np.array(world.items.titles)).save(folder)
        _samples(world, recipe).save(folder)
        size_bytes = _sign(folder, recipe, world, evaluation)
    return BuildReport(
        directory=out_dir,
        variant=VARIANT,
        metrics=evaluation.metrics,
        seconds=time.monotonic() - start,
        size_bytes=size_bytes,
    )


def _show(evaluation: Evaluation, console: Console) -> None:
    console.print(
        f"  held-out AUC {evaluation.model:.4f}; the oracle's {evaluation.oracle:.4f}, popularity's "
        f"{evaluation.popularity:.4f}: {evaluation.oracle_lift:.1%} of the oracle's lift over chance",
        highlight=False,
        soft_wrap=True,
    )


def _compare(graph: bytes, model: DLRM, world: World) -> None:
    """Runs graph and model on the same visits, as serving would. Raises BuildFailed where they differ."""
    few = world.held_out.head(_COMPARED_VISITS)
    recent = [row[row < len(world.items)].astype(np.int32) for row in few.recent]
    queries = [
        Query(dense=dense.tolist(), categories=categories.tolist(), recent=looked_at, items=slate, top_k=0)
        for dense, categories, looked_at, slate in zip(
            few.dense, few.categories, recent, few.slate.astype(np.int32), strict=True
        )
    ]
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    (served,) = session.run(["probability"], feed(queries, [len(q.items) for q in queries], world.shapes))
    trained = 1 / (1 + np.exp(-predict(model, few).astype(np.float64).ravel()))
    difference = float(np.abs(served - trained).max())
    if not difference <= _TOLERANCE:  # so that NaN fails, too
        raise BuildFailed(f"the ONNX graph differs from the model by {difference:.2g} in probability")


def _samples(world: World, recipe: Recipe) -> Samples:
    visitors = world.held_out.head(recipe.sample_visitors)
    return Samples(
        dense=visitors.dense,
        categories=visitors.categories,
        recent=visitors.recent,
        ids=world.items.ids,
        kinds=world.items.kinds,
        exposure=world.items.exposure,
    )


def _sign(folder: Path, recipe: Recipe, world: World, evaluation: Evaluation) -> int:
    """Writes the manifest of the other files in `folder`; returns the bytes of all."""
    Manifest(
        variant=VARIANT,
        fingerprint=recipe.fingerprint(),
        seed=recipe.seed,
        shapes=world.shapes,
        metrics=evaluation.metrics,
        versions={
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
        sha256=checksums(folder, (MODEL, CATALOGUE, SAMPLES)),
    ).write(folder)
    return sum(path.stat().st_size for path in folder.iterdir())
