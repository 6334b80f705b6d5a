"""A node of toys whose batches close as other servers' do: at a size, or so long after the first of them came.

    python -m bench.timer_node --config mesh.yaml --node toy

It is the mesh's own node in all else: links, lanes, claims, the device. Jobs are run in the order in which they came to
the router, nothing is dropped, and a device that is free waits for company. Triton's dynamic batcher and Ray Serve's
batches close so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeVar

from isochrone.batching import NOTHING_OWED, UNKNOWN, BatchPolicy, ClosedBy, Closing, Demand, Waiting
from isochrone.config import MeshConfig, NodeConfig
from isochrone.keys import Tier
from isochrone.latency import Latency
from isochrone.model import Model, StreamModel
from isochrone.node.loop import NodeLoop
from isochrone.node.main import main
from isochrone.node.node import Node
from isochrone.node.served import BatchServed
from isochrone.testing.models import SLEEP
from isochrone.testing.toy.__main__ import make_models as toys

LOOKS = 10
"""How often the lane is looked at while a batch waits for company."""
LEAST_LOOK_S = 0.002

_J = TypeVar("_J", bound=Waiting)


@dataclass(frozen=True, slots=True)
class Timer:
    """A setting of the grid."""

    size: int
    """Jobs that are a batch at once."""
    window_s: float
    """How long the first of a batch waits for so many."""
    objective_s: float
    """Of all jobs, whose callers wait for longer: so they came that long before they are due."""


@dataclass(frozen=True, slots=True)
class InOrder(BatchPolicy):
    """So many of those that came first; the loop has waited for them."""

    size: int = 1

    def enough_units(self, latency: Latency, demand: Demand) -> int:
        return self.size

    def close(
        self,
        waiting: Sequence[_J],
        *,
        now_s: float,
        latency: Latency,
        demand: Demand = UNKNOWN,
        owed: Mapping[Tier, float] = NOTHING_OWED,
    ) -> Closing[_J]:
        in_order = sorted(waiting, key=attrgetter("objective_s"))
        run, keep = in_order[: self.size], in_order[self.size :]
        return Closing(run, [], keep, ClosedBy.FULL if len(run) == self.size else ClosedBy.ALL)


class TimerLoop(NodeLoop):
    """A NodeLoop that lets a batch wait for its size, or for its time."""

    def __init__(self, *parts: Any, timer: Timer, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._timer = timer

    async def _staged(self) -> list[BatchServed]:
        staged = await super()._staged()
        for served in staged:
            await self._gather(served)
        return [served for served in staged if served.staging]

    async def _gather(self, served: BatchServed) -> None:
        timer = self._timer
        while served.staging and not self._leaving and len(served.staging.jobs) < timer.size:
            first_s = min(job.objective_s for job in served.staging.jobs) - timer.objective_s
            left_s = first_s + timer.window_s - self._clock()
            if left_s <= 0:
                break
            await self._claimer.claim_at_once()  # as it does where all others of a batch were given up
            if len(served.staging.jobs) < timer.size:
                await asyncio.sleep(min(left_s, max(LEAST_LOOK_S, timer.window_s / LOOKS)))


class TimerNode(Node):
    """A Node with that loop and that policy."""

    def __init__(self, models: Sequence[Model | StreamModel], *, timer: Timer, **more: Any) -> None:
        super().__init__(models, **more)
        self._timer = timer

    async def load(self) -> None:
        await super().load()
        for served in self._batches.values():
            limits = served.policy.limits
            served.policy = InOrder(limits, size=min(self._timer.size, limits.jobs))
        self._loop = TimerLoop(
            self._batches,
            claimer=self._claimer,
            device=self._device,
            filled=self._filled,
            clock=self._clock,
            shares=self._shares,
            timer=self._timer,
        )


class _Toys:
    """The toys of a group whose options have a `size` and a `window_ms` besides, and the node that serves them."""

    def __init__(self) -> None:
        self._timer = Timer(1, 0.0, 0.0)

    def models(self, config: MeshConfig, node: NodeConfig) -> Sequence[Model | StreamModel]:
        options = dict(node.options)
        size, window_ms = int(options.pop("size")), float(options.pop("window_ms"))
        self._timer = Timer(size, window_ms / 1e3, config.routes[SLEEP].objective_ms / 1e3)
        return toys(config, node.model_copy(update={"options": options}))

    def node(self, models: Sequence[Model | StreamModel], **more: Any) -> Node:
        return TimerNode(models, timer=self._timer, **more)


if __name__ == "__main__":
    made = _Toys()
    main("bench.timer_node", made.models, make_node=made.node)
