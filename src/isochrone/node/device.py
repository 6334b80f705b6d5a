"""The device: runs forward calls one at a time, beside the event loop, and keeps a bad member from its batch-mates."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from isochrone.deadline import Clock
from isochrone.errors import DeadlineExceeded, IsochroneError
from isochrone.incidents import incident
from isochrone.model import Model
from isochrone.node.staging import Outcome, StagedJob
from isochrone.tracing import trace_id_of

log = logging.getLogger(__name__)

INLINE_S = 0.0015
"""A batch expected to be done sooner runs on the event loop itself: a thread's hand-over would cost as much."""
COLD_S = 0.02
"""An example that takes less is run twice, and the second time counts."""
EXPIRED_BY_S = 0.001
"""No forward call starts with a job that has expired by more."""


class Device:
    """One accelerator, or the cores given to this process: one forward call at a time."""

    def __init__(self, name: str, *, clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"device-{name}")

    def __repr__(self) -> str:
        return f"<Device {self.name}>"

    def run(
        self, model: Model, jobs: Sequence[StagedJob], *, expected_s: float
    ) -> asyncio.Future[tuple[list[Outcome], float, float]]:
        """Runs one batch. Gives an outcome for each job, when the forward call began, and how long it took."""
        loop = asyncio.get_running_loop()
        if expected_s < INLINE_S:
            done: asyncio.Future[tuple[list[Outcome], float, float]] = loop.create_future()
            done.set_result(self._run(model, jobs))
            return done
        return loop.run_in_executor(self._thread, self._run, model, jobs)

    def rehearse(self, model: Model, units: int, *, expected_s: float) -> asyncio.Future[tuple[int, float] | None]:
        """Runs an example that nobody waits for. Gives its units, and how long it took; None where the model raises."""
        loop = asyncio.get_running_loop()
        if expected_s < INLINE_S:
            done: asyncio.Future[tuple[int, float] | None] = loop.create_future()
            done.set_result(self._rehearse(model, units))
            return done
        return loop.run_in_executor(self._thread, self._rehearse, model, units)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _run(self, model: Model, jobs: Sequence[StagedJob]) -> tuple[list[Outcome], float, float]:
        began_s = self._clock()
        outcomes = self._split(model, jobs, began_s=began_s)
        return outcomes, began_s, self._clock() - began_s

    def _rehearse(self, model: Model, units: int) -> tuple[int, float] | None:
        try:
            items = [model.example(units)]
            began_s = self._clock()
            model.forward(items)
            if self._clock() - began_s < COLD_S:  # a first call after a pause takes longer than what follows
                began_s = self._clock()
                model.forward(items)
            return model.weigh(items[0]), self._clock() - began_s
        except Exception as error:
            log.warning("%s: an example raised %r", model.variant, error)
            return None

    def _split(self, model: Model, jobs: Sequence[StagedJob], *, began_s: float) -> list[Outcome]:
        """The batch's outcomes; where its forward call raises, halves are run until the culprit stands alone."""
        now_s = self._clock()
        if now_s > began_s:
            expired = [job for job in jobs if now_s > job.deadline_s + EXPIRED_BY_S]
            if expired:
                late = [Outcome(job, error=DeadlineExceeded("expired before its batch ran")) for job in expired]
                alive = [job for job in jobs if now_s <= job.deadline_s + EXPIRED_BY_S]
                return late + (self._split(model, alive, began_s=now_s) if alive else [])
        try:
            outputs = model.forward([job.item for job in jobs])
            if len(outputs) != len(jobs):
                raise ValueError(f"forward answered {len(outputs)} items for {len(jobs)}")
        except Exception as error:
            if len(jobs) == 1:
                return [Outcome(jobs[0], error=_incident(f"{model.variant}: forward raised", error, jobs[0]))]
            log.warning("%s: forward of %d jobs raised %r; running its halves", model.variant, len(jobs), error)
            half = len(jobs) // 2
            halves = (jobs[:half], jobs[half:])
            return [outcome for part in halves for outcome in self._split(model, part, began_s=began_s)]
        return [self._encoded(model, job, output) for job, output in zip(jobs, outputs, strict=True)]

    def _encoded(self, model: Model, job: StagedJob, output: object) -> Outcome:
        try:
            return Outcome(job, payload=model.encode(job.item, output))
        except Exception as error:
            return Outcome(job, error=_incident(f"{model.variant}: encode raised", error, job))


def _incident(what: str, error: Exception, job: StagedJob) -> IsochroneError:
    return incident(what, error, trace_id=trace_id_of(job.traceparent))
