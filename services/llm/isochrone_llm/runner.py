"""Runs the model over the slots of running sequences, many in one forward."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isochrone_llm.kv_cache import KvCache
from isochrone_llm.llama import Llama


class Runner:
    """A model and the memory of what its sequences have seen."""

    def __init__(self, model: Llama, *, slots: int, context: int) -> None:
        self._model = model
        self.cache = KvCache(model.config, slots=slots, context=context, device=model.device, dtype=model.dtype)

    def forward(self, first_slot: int, chunks: Sequence[Sequence[int]], seen: Sequence[int]) -> Tensor:
        """Logits [n, vocabulary] after the last token of each of n chunks, in one forward.

        Chunk k goes on in slot `first_slot` + k, which holds `seen[k]` tokens. Either all are prompts in empty slots,
        or all are the one token that came last: rows of different lengths can't be padded past what is seen. The
        slots hold their chunks afterwards, and running it again changes nothing.
        """
        device = self._model.device
        counts = [len(chunk) for chunk in chunks]
        width = max(counts)
        # Padding goes behind a row's tokens. It is written to the slot, too, and overwritten before it is looked at.
        tokens = torch.tensor([[*chunk, *([0] * (width - len(chunk)))] for chunk in chunks], device=device)
        positions = torch.tensor(seen, device=device)[:, None] + torch.arange(width, device=device)
        length = max(before + count for before, count in zip(seen, counts, strict=True))
        mask = torch.arange(length, device=device) <= positions[:, :, None]
        logits: Tensor = self._model(
            tokens,
            positions=positions,
            mask=mask[:, None],
            memory=self.cache.window(first_slot, positions, length=length),
            last=torch.tensor(counts, device=device) - 1,
        )
        return logits
