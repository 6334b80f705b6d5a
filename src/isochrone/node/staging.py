"""Jobs a node has claimed or been given and hasn't run yet, decoded and ready."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from isochrone.batching import ClosedBy
from isochrone.errors import IsochroneError
from isochrone.keys import Tier
from isochrone.node.credit import Credit
from isochrone.tracing import SpanContext
from isochrone.v1 import budget_pb2


class JobKey(NamedTuple):
    """Names a job in the whole mesh: the boot id of the process that owns the request, and its number there."""

    owner: int
    job: int


@dataclass(slots=True, eq=False, repr=False)
class StagedJob:
    """A request on this node. Times are seconds on the node's clock."""

    key: JobKey
    attempt: int
    reply_to: ReplyTo
    item: Any
    units: int
    objective_s: float
    deadline_s: float
    claimed_s: float
    tier: Tier = Tier.STANDARD
    credit: Credit | None = None
    """Where its answer streams: for how many chunks there is room at its taker's."""
    traceparent: str = ""
    """Of its router's span."""

    def __repr__(self) -> str:
        """Never the request itself: it is somebody's."""
        return f"<StagedJob {self.key.job} of {self.key.owner:016x}, attempt {self.attempt}, {self.units} units>"


class Outcome(NamedTuple):
    """What became of a job: its answer's bytes, or why there is none."""

    job: StagedJob
    payload: bytes = b""
    error: IsochroneError | None = None


class Ran(NamedTuple):
    """A batch that ran, for the reports of its members. `jobs` 0: it never ran, its members were given up."""

    lane: str
    started_s: float
    compute_s: float = 0.0
    jobs: int = 0
    units: int = 0
    closed_by: ClosedBy = ClosedBy.ALL
    span: SpanContext | None = None
    """Its own, where it is traced."""

    def as_info(self) -> budget_pb2.BatchInfo | None:
        """What reports say of it; nothing where it never ran."""
        if not self.jobs:
            return None
        info = budget_pb2.BatchInfo(jobs=self.jobs, units=self.units, closed_by=self.closed_by)
        if self.span is not None:
            info.trace_id, info.span_id = self.span.trace_id.to_bytes(16), self.span.span_id.to_bytes(8)
        return info


class ReplyTo(Protocol):
    """Whoever waits for a job: a router's link, or a caller of this node's own API."""

    def settle(self, ran: Ran, outcomes: Sequence[Outcome]) -> None:
        """Hands over the outcomes of jobs that ended together. Never awaits."""

    def chunk(self, job: StagedJob, number: int, payload: bytes) -> None:
        """Hands over a part of an answer that streams, numbered from 1, within the job's credit. Never awaits."""


class Staging:
    """The jobs of one lane on this node, by key, and a way to wait for the first."""

    def __init__(self, filled: asyncio.Event) -> None:
        self._jobs: dict[JobKey, StagedJob] = {}
        self._filled = filled
        self.units = 0
        self.expected_jobs = 0
        self.expected_units = 0
        """Of jobs whose payload is on its way, going by their routers' estimates."""

    def __repr__(self) -> str:
        return f"<Staging {len(self._jobs)} jobs, {self.units} units>"

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, key: JobKey) -> bool:
        return key in self._jobs

    def __iter__(self) -> Iterator[StagedJob]:
        """Over those that are here, for who takes none of them meanwhile."""
        return iter(self._jobs.values())

    @property
    def jobs(self) -> list[StagedJob]:
        return list(self._jobs.values())

    @property
    def most_urgent_s(self) -> float:
        """When the first of them is due."""
        return min(job.objective_s for job in self._jobs.values())

    def add(self, job: StagedJob) -> None:
        self._jobs[job.key] = job
        self.units += job.units
        self._filled.set()

    def expect(self, units: int) -> None:
        """A job is on its way."""
        self.expected_jobs += 1
        self.expected_units += units

    def no_longer_expect(self, units: int) -> None:
        """It has come, or never will: whoever waits for the first job looks again."""
        self.expected_jobs -= 1
        self.expected_units -= units
        self._filled.set()

    def take(self, jobs: Iterable[StagedJob]) -> None:
        """Removes jobs that are about to run, or were given up."""
        for job in jobs:
            del self._jobs[job.key]
            self.units -= job.units

    def cancel(self, key: JobKey) -> StagedJob | None:
        """Forgets a job nobody waits for any more, if it is still here."""
        job = self._jobs.pop(key, None)
        if job is not None:
            self.units -= job.units
        return job


class Seen:
    """The jobs this node has had lately, so that a copy of one isn't run again. Bounded."""

    def __init__(self, most: int = 65_536) -> None:
        self._most = most
        self._keys: dict[JobKey, None] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def is_new(self, key: JobKey) -> bool:
        """Remembers the key; False where it was known."""
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._most:
            del self._keys[next(iter(self._keys))]
        return True

    def forget(self, key: JobKey) -> None:
        """It was given back, and may come again."""
        self._keys.pop(key, None)

    def forget_owner(self, owner: int) -> None:
        """Its process is gone, and with it everybody who could ask twice."""
        for key in [key for key in self._keys if key.owner == owner]:
            del self._keys[key]
