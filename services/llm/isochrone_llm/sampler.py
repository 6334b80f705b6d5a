"""Picks the next token of each sequence from the model's logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isochrone_llm.engine import SamplingParams


def sample(logits: Tensor, params: Sequence[SamplingParams], chances: Sequence[float]) -> list[int]:
    """A token for each row of logits [n, vocabulary], by its own parameters and a chance in [0, 1).

    A row's token depends on no other row: the chance comes from the sequence's own seed.
    """
    tokens: list[int] = logits.argmax(dim=-1).tolist()
    drawn = [row for row, one in enumerate(params) if one.temperature > 0]
    if drawn:
        picked = _draw(logits[drawn].float(), [params[row] for row in drawn], [chances[row] for row in drawn])
        for row, token in zip(drawn, picked, strict=True):
            tokens[row] = token
    return tokens


def _draw(logits: Tensor, params: Sequence[SamplingParams], chances: Sequence[float]) -> list[int]:
    """Rows of finite logits [n, vocabulary], all with a temperature above 0."""
    device = logits.device
    vocabulary = logits.shape[-1]

    def column(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

    # Differences first: a tiny temperature would make the logits themselves overflow.
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / column([max(one.temperature, 1e-6) for one in params])
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    top_k = column([one.top_k or vocabulary for one in params])
    # A token is in while those before it fall short of top_p, so the likeliest always is.
    kept = (before < column([one.top_p for one in params])) & (torch.arange(vocabulary, device=device) < top_k)
    kept[:, 0] = True
    cumulative = (probabilities * kept).cumsum(dim=-1)
    places = (cumulative <= column(chances) * cumulative[:, -1:]).sum(dim=-1, keepdim=True)
    # Rounding may put a chance just below 1 past the end.
    places = torch.minimum(places, kept.sum(dim=-1, keepdim=True) - 1)
    tokens: list[int] = order.gather(-1, places)[:, 0].tolist()
    return tokens
