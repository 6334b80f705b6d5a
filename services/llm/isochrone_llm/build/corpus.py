"""The texts that a build learns from and is judged by, the same for the same recipe."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from isochrone_llm.build.grammar import write_blurb
from isochrone_llm.build.product import Product, draw_product
from isochrone_llm.build.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Corpus:
    """Prompts with a blurb for each, and prompts that none of them is."""

    train: tuple[tuple[str, str], ...]
    """Prompts and blurbs. A prompt may come again, with another blurb."""
    held_out: tuple[Product, ...]
    """All different, and none in `train`."""

    def texts(self) -> Iterator[str]:
        for prompt, blurb in self.train:
            yield prompt
            yield blurb


def write_corpus(recipe: Recipe) -> Corpus:
    rng = random.Random(recipe.seed)
    held_out: dict[str, Product] = {}
    while len(held_out) < recipe.held_out:
        product = draw_product(rng)
        held_out[product.prompt] = product
    train: list[tuple[str, str]] = []
    while len(train) < recipe.texts:
        product = draw_product(rng)
        if product.prompt not in held_out:
            train.append((product.prompt, write_blurb(product, rng)))
    return Corpus(train=tuple(train), held_out=tuple(held_out.values()))
