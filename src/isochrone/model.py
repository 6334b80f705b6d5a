"""What a service implements: a model that loads, decodes requests, and answers a batch of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Model(Protocol):
    """One variant of a model on one device.

    The node calls `load` once, then `forward` on growing batches of `example`s to warm up and to learn
    how long batches take; only then does it say it is ready. `decode` and `encode` run on the node's event
    loop, so they are short; `forward` runs beside it, one call at a time. A model whose `decode` takes longer, as that
    of a photo does, has an attribute `decodes_beside = True`: it is then called in a thread, and must bear several.

    The items between decode, forward and encode are the model's own business.
    """

    variant: str
    """Model and variant, "ranker.fp32". With the device class it names the lane: "ranker.fp32@cpu"."""
    routes: Sequence[str]
    """The RPC methods it answers, "isochrone.v1.Recsys/Rank"."""
    unit: str
    """What its batches are made of, for people: "rows", "images", "tokens"."""
    max_units: int
    """The most units one request may have."""
    batch_units: int
    """The most units one forward call takes."""
    batch_jobs: int
    """The most requests one forward call takes."""

    def load(self) -> None:
        """Brings the weights into memory. Raises ConfigError where they can't be had."""

    def decode(self, route: str, payload: bytes) -> Any:
        """The request as the model wants it. Raises InvalidRequest naming the field that is wrong."""

    def weigh(self, item: Any) -> int:
        """How many units the item is, at least 1."""

    def forward(self, batch: Sequence[Any]) -> Sequence[Any]:
        """One output for each item, in the same order. An exception fails the batch, which is then split."""

    def encode(self, item: Any, output: Any) -> bytes:
        """The answer's bytes on the wire."""

    def example(self, units: int) -> Any:
        """An item of that many units, for warm-up."""


def lane_name(variant: str, device: str) -> str:
    """The name of the lane that a variant's jobs wait in on a device class."""
    return f"{variant}@{device}"
