"""One variant as this node serves it: the model, its lane, how long its batches take, and what it has done."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Self

from isochrone.arrivals import Arrivals
from isochrone.batching import BatchPolicy, ClosedBy, Closing, Demand, Limits, jobs_to_claim
from isochrone.deadline import Clock
from isochrone.keys import Tier
from isochrone.latency import Latency, LatencyModel
from isochrone.model import Model, Servable, lane_name
from isochrone.node.staging import JobKey, ReplyTo, StagedJob, Staging
from isochrone.registry import LaneRecord
from isochrone.v1 import link_pb2

WARM_UP_REPEATS = 3
LIKELY = 0.9
"""Batches are planned to be done in time with this chance."""


@dataclass(slots=True, repr=False, eq=False)
class Served(ABC):
    """A model, loaded and warm, with everything that its lane needs to be run."""

    model: Servable
    lane: str
    latency: LatencyModel
    staging: Staging
    jobs: int = 0
    batches: int = 0
    units: int = 0
    mean_jobs: float = 1.0
    mean_units: float = 1.0
    mean_weight: float = 1.0
    """Units of a job, lately."""
    routes: frozenset[str] = field(default_factory=frozenset)
    left: dict[Tier, int] = field(default_factory=dict)
    """Jobs that waited in its lane by tier, behind those of the last claim."""
    siblings: int = 1
    """How many nodes claim from its lane, this one counted."""
    stands_back: bool = False
    """Others are so much faster that it claims nothing."""
    dropped: int = 0
    compute_s: float = 0.0
    wasted_s: float = 0.0
    pace_changed: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        done = f"{self.jobs} jobs in {self.batches} batches"
        return f"<{type(self).__name__} {self.lane}, {done}, {self.latency!r}, {self.staging!r}>"

    @property
    def runs_beside(self) -> bool:
        """Whether its jobs run beside others, and keep no batch waiting."""
        return False

    @property
    def decodes_beside(self) -> bool:
        """Whether requests are decoded in a thread (Model)."""
        return bool(getattr(self.model, "decodes_beside", False))

    @property
    @abstractmethod
    def jobs_wanted(self) -> int:
        """How many more jobs there is room for now."""

    @property
    def backlog(self) -> int:
        """Jobs that are here and not answered, as far as others should count them."""
        return len(self.staging)

    def work_s(self, weight: int) -> float:
        """How long a job of that many units takes that has just come, with all that is here or on its way."""
        return max(self.staged_s, self._takes_s(1, weight))

    @property
    def staged_s(self) -> float:
        """How long the device will be kept by those here or on their way."""
        return 0.0  # what runs beside others keeps it from nobody

    def _takes_s(self, jobs: int, units: int) -> float:
        """All of them, one batch after the other."""
        line = self.latency.current
        batches = max(ceil(units / self.batch_units), ceil(jobs / self.batch_jobs))
        return batches * line.base_s + line.per_unit_s * units

    def cancel(self, key: JobKey) -> bool:
        """Nobody waits for the job any more; False where it isn't here."""
        return self.staging.cancel(key) is not None

    def cancel_all_of(self, caller: ReplyTo) -> None:
        """Nobody is there any more to be answered."""
        self.staging.take([job for job in self.staging.jobs if job.reply_to is caller])

    def came(self, units: int, now_s: float) -> None:  # noqa: B027  only who batches has to know
        """A job was staged."""

    def came_to_idle(self) -> None:  # noqa: B027  the same
        """What is staged came while the node had nothing to do: it tells how tight such jobs are."""

    def is_short(self, claim_s: float) -> bool:
        """Whether its next batch should wait for one more claim, which takes so long."""
        return False

    def grant(self, key: JobKey, chunks: int) -> None:  # noqa: B027  most models have no chunks
        """Whoever takes a job's chunks has room for more."""

    def ran(self, *, jobs: int, units: int, compute_s: float | None) -> None:
        """Takes in a batch that ran as planned. None: how long it took says nothing of the model."""
        if compute_s is not None and self.latency.observe(units, compute_s):
            self.pace_changed()
        self.jobs += jobs
        self.units += units
        self.batches += 1
        self.mean_jobs += 0.05 * (jobs - self.mean_jobs)
        self.mean_units += 0.05 * (units - self.mean_units)
        self.mean_weight += 0.05 * (units / jobs - self.mean_weight)

    def rehearsed(self, units: int, compute_s: float) -> None:
        """Takes in an example that ran for nobody."""
        if self.latency.observe(units, compute_s):
            self.pace_changed()

    def as_variant(self) -> link_pb2.Variant:
        """How it introduces itself to routers."""
        return link_pb2.Variant(
            lane=self.lane,
            variant=self.model.variant,
            routes=sorted(self.routes),
            unit=self.model.unit,
            max_units=self.model.max_units,
            latency=as_proto(self.latency.current),
        )

    def as_state(self) -> link_pb2.LaneState:
        """How it is doing."""
        return link_pb2.LaneState(
            lane=self.lane,
            latency=as_proto(self.latency.current),
            jobs=self.jobs,
            batches=self.batches,
            units=self.units,
            mean_units=self.mean_units,
            mean_jobs=self.mean_jobs,
            backlog_jobs=self.backlog,
            backlog_units=self.staging.units,
            stands_back=self.stands_back,
            dropped=self.dropped,
            compute_s=self.compute_s,
            wasted_s=self.wasted_s,
        )

    def as_record(self) -> LaneRecord:
        """How long its batches take, for the registry."""
        line = self.latency.current
        return LaneRecord(
            base_us=line.base_s * 1e6,
            per_unit_us=line.per_unit_s * 1e6,
            spread=line.spread,
            batch_units=self.batch_units,
        )

    @property
    def batch_units(self) -> int:
        """The most units of one batch."""
        return self.model.max_units

    @property
    def batch_jobs(self) -> int:
        """The most jobs of one batch."""
        return 1


@dataclass(slots=True, repr=False, eq=False, kw_only=True)
class BatchServed(Served):
    """A model that answers batches."""

    model: Model
    policy: BatchPolicy
    clock: Clock
    arrivals: Arrivals
    overloaded: bool = False
    """Not all that was staged could be in time when the last batch was closed."""

    @classmethod
    def warmed_up(cls, model: Model, *, device: str, filled: asyncio.Event, clock: Clock) -> Self:
        """Loads the model and runs example batches of growing size. Blocks; raises what the model raises."""
        model.load()
        samples: list[tuple[int, float]] = []
        for units in _sizes(model):
            items: list[Any] = []
            left = units
            while left > 0 and len(items) < model.batch_jobs:
                items.append(model.example(min(left, model.max_units)))
                left -= min(left, model.max_units)
            units = sum(model.weigh(item) for item in items)
            for repeat in range(1 + WARM_UP_REPEATS):
                began_s = clock()
                outputs = model.forward(items)
                if len(outputs) != len(items):
                    raise ValueError(f"{model.variant}: forward answered {len(outputs)} items for {len(items)}")
                if repeat:  # the first of a size allocates
                    samples.append((units, clock() - began_s))
        return cls(
            model=model,
            lane=lane_name(model.variant, device),
            policy=BatchPolicy(Limits(units=model.batch_units, jobs=model.batch_jobs)),
            latency=LatencyModel.fitted(samples),
            staging=Staging(filled),
            routes=frozenset(model.routes),
            clock=clock,
            arrivals=Arrivals(),
        )

    @property
    def batch_units(self) -> int:
        return self.model.batch_units

    @property
    def batch_jobs(self) -> int:
        return self.model.batch_jobs

    @property
    def demand(self) -> Demand:
        """What is asked of it, as far as it knows."""
        return Demand(self.arrivals.rate(self.clock()), self._behind, self.arrivals.tight_s)

    @property
    def _behind(self) -> float:
        """Units in its lane that fall to this node."""
        return sum(self.left.values()) * self.mean_weight / max(1, self.siblings)

    @property
    def tiers(self) -> set[Tier]:
        """Those with work, staged or waiting in its lane."""
        tiers = {job.tier for job in self.staging}
        tiers.update(tier for tier, count in self.left.items() if count)
        return tiers

    @property
    def room(self) -> int:
        """Units that may still be staged: what the next batch takes. What is left in the lane, another node may take
        first. Under overload it is up to two full batches, to choose from: some of them won't be run. Jobs that are
        late already are the first of a lane; up to a batch of them keeps no place from those behind."""
        # Where jobs are light, it is their number that fills a batch.
        most = max(1, min(self.model.batch_units, int(self.model.batch_jobs * self.mean_weight)))
        held = self.staging.units + self.staging.expected_units
        if held:
            held -= min(self._late_units, most)
        if self.overloaded:
            return 2 * most - held
        next_batch = min(most, self.policy.enough_units(self.latency.current, self.demand))
        return next_batch - held

    @property
    def _late_units(self) -> int:
        """Staged, of jobs that can't be done by their objective any more."""
        latency, now_s = self.latency.current, self.clock()
        by_s, per_unit_s = now_s + latency.base_s, latency.per_unit_s
        late = 0
        for job in self.staging:
            if by_s + per_unit_s * job.units > job.objective_s:
                late += job.units
        return late

    def is_short(self, claim_s: float) -> bool:
        """Whether more is done in a second if the next batch waits for one more claim, which takes so long. How much
        waits in the lane is known only when a claim has come back, and it may be more than was asked for."""
        behind = self._behind
        if not behind:
            return False
        # (units + more) / (claim_s + t(units + more)) > units / t(units), where t is a line, comes down to this.
        waited_s = claim_s * (self.staging.units - self._late_units)
        base_s = self.latency.current.base_s
        return behind * base_s > waited_s and self.room * base_s > waited_s

    @property
    def staged_s(self) -> float:
        """Not by those that are too late even if they ran now, alone and luckily: they won't be run."""
        latency, now_s = self.latency.current, self.clock()
        least_s, per_unit_s = latency.base_s * latency.luck, latency.per_unit_s * latency.luck
        jobs, units = self.staging.expected_jobs, self.staging.expected_units
        for job in self.staging:
            if now_s + least_s + per_unit_s * job.units <= job.deadline_s:
                jobs += 1
                units += job.units
        return self._takes_s(jobs, units)

    def came(self, units: int, now_s: float) -> None:
        self.arrivals.came(units, now_s)

    def came_to_idle(self) -> None:
        for job in self.staging:
            self.arrivals.fresh(job.objective_s - job.claimed_s)

    def close(self, owed: Mapping[Tier, float]) -> Closing[StagedJob]:
        """Decides over what is staged: to be in time with some certainty where all go together, and else as it is
        expected. Caution makes for small batches, and those whom it leaves behind pay for it."""
        waiting, now_s, demand = self.staging.jobs, self.clock(), self.demand
        expected = self.latency.current
        cautious = expected.cautious(LIKELY)
        closing = self.policy.close(waiting, now_s=now_s, latency=cautious, demand=demand, owed=owed)
        if closing.some_late:
            closing = self.policy.close(waiting, now_s=now_s, latency=expected, demand=demand, owed=owed)
        self.overloaded = closing.closed_by is ClosedBy.OVERLOAD
        return closing

    @property
    def jobs_wanted(self) -> int:
        room = self.room
        if room <= 0:
            return 0
        return jobs_to_claim(room_units=room, mean_units=self.mean_weight, most=self.model.batch_jobs)

    def as_variant(self) -> link_pb2.Variant:
        variant = super(BatchServed, self).as_variant()
        variant.batch_units, variant.batch_jobs = self.model.batch_units, self.model.batch_jobs
        return variant


def as_proto(latency: Latency) -> link_pb2.Latency:
    return link_pb2.Latency(base_us=latency.base_s * 1e6, per_unit_us=latency.per_unit_s * 1e6, spread=latency.spread)


def _sizes(model: Model) -> list[int]:
    """Batch sizes to warm up with: 1, 4, 16, … and the largest."""
    most = min(model.batch_units, model.max_units * model.batch_jobs)
    sizes = [size for size in (1, 4, 16, 64, 256, 1024) if size < most]
    return [*sizes, most]
