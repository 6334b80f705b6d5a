"""How many of a model's blurbs are as they should be, on prompts it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from isochrone.building.making import BuildFailed
from isochrone_llm.build.grammar import parse_blurb
from isochrone_llm.build.product import Product
from isochrone_llm.build.recipe import Bar
from isochrone_llm.build.tokenizer import END
from isochrone_llm.codec import Codec
from isochrone_llm.llama import Llama
from isochrone_llm.runner import Runner

_BATCH = 64
_MAX_TOKENS = 80
"""Longer than any blurb of the grammar."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Of the greedy blurbs of held-out prompts, parts of 1."""

    parsed: float
    """Are sentences of the grammar that agree with each other."""
    right: float
    """And state what their prompts do, no more and no less."""

    @property
    def metrics(self) -> dict[str, float]:
        """As the manifest has them."""
        return {"parsed": self.parsed, "right": self.right}

    def check(self, bar: Bar) -> None:
        """Raises BuildFailed where the model is below the bar."""
        if self.right < bar.right:
            raise BuildFailed(
                f"{self.right:.1%} of held-out blurbs state what their prompts do; the bar is {bar.right:.0%}"
            )


def evaluate(
    model: Llama, codec: Codec, products: Sequence[Product], *, advance: Callable[[int], object] = lambda blurbs: None
) -> Evaluation:
    """Judges the blurbs that the model writes by its own lights; `advance` is told of them as they are written."""
    parsed = right = 0
    for start in range(0, len(products), _BATCH):
        batch = products[start : start + _BATCH]
        for product, blurb in zip(batch, _greedy(model, codec, [p.prompt for p in batch]), strict=True):
            said = parse_blurb(blurb)
            parsed += said is not None
            right += said is not None and said.product == product
        advance(len(batch))
    return Evaluation(parsed=parsed / len(products), right=right / len(products))


def _greedy(model: Llama, codec: Codec, prompts: Sequence[str]) -> list[str]:
    """Their likeliest blurbs, written as serving writes them: a forward for the prompts, then one for each token."""
    chunks: list[list[int]] = [codec.encode(prompt) for prompt in prompts]
    runner = Runner(model, slots=len(prompts), context=max(map(len, chunks)) + _MAX_TOKENS)
    seen = [0] * len(prompts)
    written: list[list[int]] = [[] for _ in prompts]
    for _ in range(_MAX_TOKENS):
        tokens = runner.forward(0, chunks, seen).argmax(dim=-1).tolist()
        seen = [before + len(chunk) for before, chunk in zip(seen, chunks, strict=True)]
        chunks = [[token] for token in tokens]
        for text, token in zip(written, tokens, strict=True):
            if END not in text:
                text.append(token)
        if all(END in text for text in written):
            break
    return [codec.decode(text) for text in written]
