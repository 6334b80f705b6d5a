"""Jobs whose answers are made step by step: each begins when the model has room, and runs as long as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from isochrone.batching import ClosedBy
from isochrone.deadline import Clock
from isochrone.errors import DeadlineExceeded, IsochroneError
from isochrone.incidents import incident
from isochrone.latency import LatencyModel
from isochrone.model import HasEngine, StreamModel, lane_name
from isochrone.node.claimer import Claimer
from isochrone.node.credit import Credit
from isochrone.node.served import Served
from isochrone.node.staging import JobKey, Outcome, Ran, ReplyTo, StagedJob, Staging
from isochrone.tracing import trace_id_of
from isochrone.v1 import link_pb2

WARM_UP_UNITS = (16, 64)
LAST_WORD_S = 0.02
"""What an answer cut short has for its way to the caller."""


@dataclass(slots=True, eq=False, repr=False)
class _Running:
    job: StagedJob
    task: asyncio.Task[None]


@dataclass(slots=True)
class _HandedOn:
    """How far a job has come."""

    units: int
    answer: bytes = b""
    has_waited: bool = False
    """For its reader."""


@dataclass(slots=True, repr=False, eq=False, kw_only=True)
class StreamServed(Served):
    """A model that answers step by step."""

    model: StreamModel
    running: dict[JobKey, _Running] = field(default_factory=dict)

    @classmethod
    async def warmed_up(cls, model: StreamModel, *, device: str, filled: asyncio.Event, clock: Clock) -> Self:
        """Loads and opens the model and runs examples. Raises what the model raises."""
        await asyncio.to_thread(model.load)
        await model.open()
        samples = []
        for units in WARM_UP_UNITS:
            for repeat in range(2):
                item = model.example(min(units, model.max_units))
                began_s, done = clock(), 0
                async for part in model.run(item, name=f"warm-up {units}", deadline_s=float("inf")):
                    done = part.units
                if repeat:  # the first of a size allocates
                    samples.append((done, clock() - began_s))
        return cls(
            model=model,
            lane=lane_name(model.variant, device),
            latency=LatencyModel.fitted(samples),
            staging=Staging(filled),
            routes=frozenset(model.routes),
        )

    @property
    def runs_beside(self) -> bool:
        return True

    @property
    def jobs_wanted(self) -> int:
        return max(0, self.room - len(self.staging) - self.staging.expected_jobs)

    @property
    def room(self) -> int:
        """Jobs that would begin at once."""
        return self.model.room([running.job.item for running in self.running.values()])

    @property
    def backlog(self) -> int:
        return len(self.staging) + len(self.running)

    def as_state(self) -> link_pb2.LaneState:
        state = super(StreamServed, self).as_state()
        if isinstance(self.model, HasEngine):
            state.engine.CopyFrom(link_pb2.EngineState(**self.model.engine_state()._asdict()))
        return state

    def work_s(self, weight: int) -> float:
        """It begins at once where there is room for it, else as others end: in about their own time for each round."""
        ahead = max(0, len(self.staging) + self.staging.expected_jobs - max(0, self.room))
        return self.latency.current.of(weight) * (1 + ahead / max(1, len(self.running)))

    def cancel(self, key: JobKey) -> bool:
        """What runs ends at its next step."""
        running = self.running.get(key)
        if running is not None:
            running.task.cancel()
        return running is not None or self.staging.cancel(key) is not None

    def cancel_all_of(self, caller: ReplyTo) -> None:
        super(StreamServed, self).cancel_all_of(caller)
        for running in self.running.values():
            if running.job.reply_to is caller:
                running.task.cancel()

    def grant(self, key: JobKey, chunks: int) -> None:
        running = self.running.get(key)
        if running is not None and running.job.credit is not None:
            running.job.credit.grant(chunks)


class StreamLoop:
    """Begins jobs as there is room, the most urgent first, and hands on what their models make."""

    def __init__(
        self, served: Mapping[str, StreamServed], *, claimer: Claimer, filled: asyncio.Event, clock: Clock
    ) -> None:
        self._served = served
        self._claimer = claimer
        self._filled = filled
        self._clock = clock
        self._leaving = False

    def __repr__(self) -> str:
        running = sum(len(served.running) for served in self._served.values())
        return f"<StreamLoop {'leaving, ' if self._leaving else ''}{running} running>"

    async def run(self) -> None:
        """Until told to leave and nothing is left to do."""
        while not self._leaving or any(served.backlog for served in self._served.values()):
            self._filled.clear()
            for served in self._served.values():
                self._begin(served)
            if not self._leaving:
                self._claimer.wait_for_work()
            await self._filled.wait()

    def leave(self) -> None:
        """Lets `run` return once what is here has been answered."""
        self._leaving = True
        self._filled.set()

    async def close(self) -> None:
        """Ends what runs, at once."""
        tasks = [running.task for served in self._served.values() for running in served.running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, served: StreamServed) -> None:
        for job in sorted(served.staging.jobs, key=lambda job: job.objective_s):
            if served.room < 1:
                break
            served.staging.take([job])
            if self._clock() >= job.deadline_s:
                error = DeadlineExceeded("expired before there was room for it; it was not run")
                job.reply_to.settle(Ran(served.lane, self._clock()), [Outcome(job, error=error)])
                self._filled.set()  # it may have been the last that was waited for
                continue
            task = asyncio.create_task(self._run(served, job), name=f"stream {job.key.job}")
            served.running[job.key] = _Running(job, task)
            task.add_done_callback(partial(self._ended, served, job.key))

    def _ended(self, served: StreamServed, key: JobKey, task: asyncio.Task[None]) -> None:
        running = served.running.get(key)
        if (
            running is not None and running.task is task
        ):  # else the same job has begun anew, for a router that came back
            del served.running[key]
        self._filled.set()

    async def _run(self, served: StreamServed, job: StagedJob) -> None:
        """One job, from its beginning to its reply. Cancelled when its caller goes: then there is no reply."""
        began_s = self._clock()
        beside = len(served.running)  # itself among them
        handed, error = _HandedOn(job.units), None
        try:
            await self._hand_on(served, job, handed)
        except IsochroneError as fault:
            error = fault
        except Exception as fault:
            error = incident(f"{served.lane}: run raised", fault, trace_id=trace_id_of(job.traceparent))
        took_s = self._clock() - began_s
        if error is None:
            # A reader's pauses are not the model's.
            served.ran(jobs=1, units=handed.units, compute_s=None if handed.has_waited else took_s)
            served.mean_jobs = beside
        job.units = handed.units
        ran = Ran(served.lane, began_s, took_s, jobs=beside, units=handed.units, closed_by=ClosedBy.STREAM)
        job.reply_to.settle(ran, [Outcome(job, handed.answer, error)])

    async def _hand_on(self, served: StreamServed, job: StagedJob, handed: _HandedOn) -> None:
        """Sends chunks, or keeps the answer where it doesn't stream. Raises DeadlineExceeded for a reader who takes no
        more."""
        number = 0
        name = f"{job.key.owner:x}-{job.key.job}-{job.attempt}"
        parts: Any = served.model.run(job.item, name=name, deadline_s=job.deadline_s - LAST_WORD_S)
        async with aclosing(parts):
            async for part in parts:
                handed.units = part.units
                if job.credit is None:
                    handed.answer = part.payload
                    continue
                while not job.credit.spend():
                    handed.has_waited = True
                    await self._granted(job, job.credit)
                number += 1
                job.reply_to.chunk(job, number, part.payload)

    async def _granted(self, job: StagedJob, credit: Credit) -> None:
        try:
            async with asyncio.timeout(max(0.0, job.deadline_s - self._clock())):
                await credit.granted()
        except TimeoutError:
            raise DeadlineExceeded("its reader took no more chunks before the deadline") from None
