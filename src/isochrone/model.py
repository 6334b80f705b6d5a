"""What a service implements: a model that answers batches of requests, or one that answers each step by step."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable


class Servable(Protocol):
    """What all models have: one variant on one device.

    A node calls `load` once, and then runs `example`s to warm up and to learn how long they take; only then does it
    say it is ready. `decode` runs on the node's event loop, so it is short. A model whose `decode` takes longer, as
    that of a photo does, has an attribute `decodes_beside = True`: it is then called in threads, several at a time.

    What `decode` makes of a request is the model's own business.
    """

    variant: str
    """Model and variant, "ranker.fp32". With the device class it names the lane: "ranker.fp32@cpu"."""
    routes: Sequence[str]
    """The RPC methods it answers, "isochrone.v1.Recsys/Rank"."""
    unit: str
    """What its work is counted in, for people: "rows", "images", "tokens"."""
    max_units: int
    """The most units one request may have."""

    def load(self) -> None:
        """Brings the weights into memory. Raises ConfigError where they can't be had."""

    def decode(self, route: str, payload: bytes) -> Any:
        """The request as the model wants it. Raises InvalidRequest naming the field that is wrong."""

    def weigh(self, item: Any) -> int:
        """How many units the item is, at least 1."""

    def example(self, units: int) -> Any:
        """An item of that many units, for warm-up."""


class Model(Servable, Protocol):
    """Answers a batch of requests with one forward call, which runs beside the event loop, one at a time.

    `encode` runs on the event loop, so it is short.
    """

    batch_units: int
    """The most units one forward call takes."""
    batch_jobs: int
    """The most requests one forward call takes."""

    def forward(self, batch: Sequence[Any]) -> Sequence[Any]:
        """One output for each item, in the same order. An exception fails the batch, which is then split."""

    def encode(self, item: Any, output: Any) -> bytes:
        """The answer's bytes on the wire."""


class Part(NamedTuple):
    """A part of an answer that is made step by step."""

    payload: bytes
    """A message of the stream. Where the method's answer is one message, that message, in the only part."""
    units: int
    """Done so far, the request's own among them."""


@runtime_checkable
class StreamModel(Servable, Protocol):
    """Answers many requests side by side, each step by step and as long as it takes: text is made so."""

    def room(self, running: Sequence[Any]) -> int:
        """How many more requests would begin at once, beside those items that run."""

    async def open(self) -> None:
        """Makes ready to run, on the event loop that `run` is called on."""

    async def watch(self) -> None:
        """Until it is closed. Raises what it can't go on after: its node then ends, and leaves the lane to others."""

    async def close(self, *, drain_s: float) -> None:
        """Lets those that run go on for that long, and ends the rest."""

    def run(self, item: Any, *, name: str, deadline_s: float) -> AsyncIterator[Part]:
        """The answer, as it is made. `name` is that of no other request that runs; by the deadline, on the node's
        clock, the answer has ended with what there is: no step begins that would take it past. Closing the iterator,
        or cancelling who waits for it, ends the request at the next step. Raises an IsochroneError where it fails."""


class EngineState(NamedTuple):
    """How busy what makes answers step by step is."""

    active: int
    """Answers that it makes now."""
    waiting: int
    """That wait for room."""
    kv_used: int
    """Tokens that those it makes hold, or may come to."""
    kv_room: int
    """Tokens there is room for."""


@runtime_checkable
class HasEngine(Protocol):
    """A StreamModel that can say how busy it is; metrics tell of it."""

    def engine_state(self) -> EngineState:
        """As of its last step. Called a few times a second, on the event loop."""


def lane_name(variant: str, device: str) -> str:
    """The name of the lane that a variant's jobs wait in on a device class."""
    return f"{variant}@{device}"
