"""Learning: a DLRM from the visits of a world, in one pass over them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from isochrone_recsys.build.dlrm import DLRM, ItemFeatures
from isochrone_recsys.build.recipe import Recipe
from isochrone_recsys.build.visits import Visits
from isochrone_recsys.build.world import World

_WARM_UP = 0.2
"""The part of the steps in which the learning rate rises; from there it falls to zero."""
_ITEM_RATE = 0.2
"""Of the learning rate, for the items' own embeddings: most have few clicks, and more would be remembered noise."""


def train(world: World, recipe: Recipe, *, advance: Callable[[int], object] = lambda visits: None) -> DLRM:
    """A model that has seen every training visit once; `advance` is told of visits as they are learnt from.

    A second pass makes it worse on visitors it has not seen: it starts to remember single items.
    """
    items = ItemFeatures(torch.from_numpy(world.item_dense), torch.from_numpy(world.items.categories))
    model = DLRM(world.shapes, items)
    others = [parameter for parameter in model.parameters() if parameter is not model.item_table.weight]
    optimisers: list[torch.optim.Optimizer] = [
        torch.optim.Adam(others, lr=recipe.learning_rate, fused=True),
        torch.optim.SparseAdam([model.item_table.weight], lr=_ITEM_RATE * recipe.learning_rate),
    ]
    batches = _batches(len(world.train), recipe)

    def rate(step: int) -> float:
        return min((step + 1) / (_WARM_UP * len(batches)), (len(batches) - step) / ((1 - _WARM_UP) * len(batches)))

    schedules = [torch.optim.lr_scheduler.LambdaLR(optimiser, rate) for optimiser in optimisers]
    for batch in batches:
        log_odds = _log_odds(model, world.train, batch)
        clicked = torch.from_numpy(world.train.clicked[batch]).flatten().float()
        loss = binary_cross_entropy_with_logits(log_odds, clicked)
        for optimiser in optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in optimisers:
            optimiser.step()
        for schedule in schedules:
            schedule.step()
        advance(len(batch))
    return model.eval()


def predict(model: DLRM, visits: Visits) -> npt.NDArray[np.float32]:
    """[v, s] log-odds of a click on each item shown."""
    with torch.no_grad():
        parts = [_log_odds(model, visits, np.arange(k, min(k + 256, len(visits)))) for k in range(0, len(visits), 256)]
    log_odds: npt.NDArray[np.float32] = torch.cat(parts).numpy().reshape(visits.slate.shape)
    return log_odds


def _batches(visits: int, recipe: Recipe) -> list[npt.NDArray[np.int64]]:
    """All visits in random order, `batch_visits` at a time, the last few left out."""
    order = np.random.default_rng(recipe.seed + 1).permutation(visits)
    whole = visits // recipe.batch_visits
    return np.split(order[: whole * recipe.batch_visits], whole)


def _log_odds(model: DLRM, visits: Visits, which: npt.NDArray[np.int64]) -> Tensor:
    """[visits × slate], of all items shown in these visits, a visit's next to each other."""
    log_odds: Tensor = model(
        torch.from_numpy(visits.dense[which]),
        torch.from_numpy(visits.categories[which]),
        torch.from_numpy(visits.recent[which]),
        torch.from_numpy(visits.slate[which]).flatten(),
        torch.arange(len(which)).repeat_interleave(visits.slate.shape[1]),
    )
    return log_odds
