"""The keys and values of everything that running sequences have seen, a slot for each sequence."""

from __future__ import annotations

import torch
from torch import Tensor

from isochrone_llm.llama_config import LlamaConfig


class KvCache:
    """Slots side by side, so that a range of them is a batch without copying any.

    Slots are kept without gaps by whoever uses them: when a sequence leaves, the last one `move`s to its place.
    """

    def __init__(
        self, config: LlamaConfig, *, slots: int, context: int, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.num_hidden_layers, 2, slots, context, config.num_key_value_heads, config.head_dim)
        # Zeros: what was never written is masked, but a mask doesn't silence NaN. The system gives pages when
        # they are written, so slots that no sequence reaches, and the ends of those, cost nothing.
        self._kept = torch.zeros(shape, device=device, dtype=dtype)

    def __repr__(self) -> str:
        layers, _, slots, context, heads, dim = self._kept.shape
        return f"<KvCache of {slots} slots of {context:,} tokens, {layers} layers of {heads} heads of {dim}>"

    def window(self, first_slot: int, positions: Tensor, *, length: int) -> KvWindow:
        """The memory of one forward, over as many slots from the first as `positions` [b, t] has rows.

        The new tokens go to their positions, and `length` is how far into the slots the forward looks.
        """
        return KvWindow(self._kept[:, :, first_slot : first_slot + len(positions)], positions, length=length)

    def move(self, source: int, target: int, *, length: int) -> None:
        """Puts the first `length` tokens of a slot into another."""
        self._kept[:, :, target, :length] = self._kept[:, :, source, :length]

    def clear(self, slot: int) -> None:
        """Forgets a slot that may hold NaN, which would reach whoever comes next. What else is left there is masked."""
        self._kept[:, :, slot] = 0


class KvWindow:
    """A range of slots during one forward: the `Memory` that a Llama extends."""

    def __init__(self, kept: Tensor, positions: Tensor, *, length: int) -> None:
        self._kept = kept
        self._rows = torch.arange(len(positions), device=positions.device)[:, None]
        self._positions = positions
        self._length = length

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds those of a layer's new tokens, [b, t, kv heads, dim] each; gives all, [b, kv heads, length, dim]."""
        kept_keys, kept_values = self._kept[layer]
        kept_keys[self._rows, self._positions] = keys
        kept_values[self._rows, self._positions] = values
        return kept_keys[:, : self._length].transpose(1, 2), kept_values[:, : self._length].transpose(1, 2)
