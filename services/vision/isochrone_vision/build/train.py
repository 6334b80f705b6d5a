"""Learning: a network from photos of goods, in a few passes over them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy

from isochrone_vision.build.network import Network
from isochrone_vision.build.recipe import Recipe
from isochrone_vision.build.scene import LABELS, Photos

_WARM_UP = 0.2
"""The part of the steps in which the learning rate rises; from there it falls to zero."""
_WEIGHT_DECAY = 0.05
_EVALUATED_AT_ONCE = 256

Floats = npt.NDArray[np.float32]


def train(photos: Photos, recipe: Recipe, *, advance: Callable[[int], object] = lambda photos: None) -> Network:
    """A network that has seen every photo `recipe.passes` times; `advance` is told of photos as they are seen.

    Few passes over many photos: taking another costs as much as two looks, and teaches more.
    """
    # Channels last is how photos come, and how convolutions on a CPU like them.
    network = Network(len(LABELS))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rng = np.random.default_rng(recipe.seed + 1)
    batches = [batch for _ in range(recipe.passes) for batch in _batches(len(photos), recipe.batch_photos, rng)]
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=_WEIGHT_DECAY, fused=True)

    def rate(step: int) -> float:
        return min((step + 1) / (_WARM_UP * len(batches)), (len(batches) - step) / ((1 - _WARM_UP) * len(batches)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    for batch in batches:
        seen = photos.pixels[batch]
        mirrored = rng.random(len(batch)) < 0.5
        seen[mirrored] = seen[mirrored, :, ::-1]
        log_odds, _ = network(torch.from_numpy(seen))
        loss = cross_entropy(log_odds, torch.from_numpy(photos.kinds[batch]))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        advance(len(batch))
    return network.eval()


def look(network: Network, pixels: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """[p, labels] probabilities and [p, dimensions] embeddings of photos [p, side, side, 3]."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(pixels), _EVALUATED_AT_ONCE):
            log_odds, embeddings = network(torch.from_numpy(pixels[start : start + _EVALUATED_AT_ONCE]))
            parts.append((torch.softmax(log_odds, dim=1).numpy(), embeddings.numpy()))
    probabilities, embeddings = (np.concatenate(column) for column in zip(*parts, strict=True))
    return probabilities, embeddings


def _batches(photos: int, size: int, rng: np.random.Generator) -> list[npt.NDArray[np.int64]]:
    """All photos in random order, `size` at a time, the last few left out."""
    whole = photos // size
    return np.split(rng.permutation(photos)[: whole * size], whole)
