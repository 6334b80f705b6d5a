"""The node loop: claim, close, forward, reply."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import inf

from isochrone.batching import ClosedBy, Closing
from isochrone.deadline import Clock
from isochrone.errors import DeadlineExceeded
from isochrone.node.claimer import Claimer
from isochrone.node.device import Device
from isochrone.node.served import BatchServed
from isochrone.node.staging import Outcome, Ran, ReplyTo, StagedJob
from isochrone.shares import Shares
from isochrone.tracing import SpanContext

Trace = Callable[[Ran, Sequence[StagedJob]], SpanContext | None]
"""Makes a span of a batch, where somebody wants it."""


class NodeLoop:
    """Keeps one device busy with the most urgent work there is."""

    def __init__(
        self,
        served: Mapping[str, BatchServed],
        *,
        claimer: Claimer,
        device: Device,
        filled: asyncio.Event,
        clock: Clock,
        shares: Shares,
        trace: Trace | None = None,
    ) -> None:
        self._served = served
        self._claimer = claimer
        self._device = device
        self._filled = filled
        self._clock = clock
        self._shares = shares
        self._trace = trace
        self._leaving = False
        self._rehearsals: list[tuple[BatchServed, asyncio.Future[float]]] = []
        self.busy_until_s = 0.0
        """When the running batch is expected to end; in the past when the device is free."""

    def __repr__(self) -> str:
        left_s = self.busy_until_s - self._clock()
        doing = f"busy for {left_s * 1e3:.1f} ms more" if left_s > 0 else "free"
        return f"<NodeLoop {'leaving, ' if self._leaving else ''}{doing}, {self._claimer!r}>"

    async def run(self) -> None:
        """Steps until told to leave and nothing is left to do."""
        while not self._leaving or any(served.staging for served in self._served.values()):
            await self._step()

    def leave(self) -> None:
        """Lets `run` return once what is staged has been answered."""
        self._leaving = True
        self._filled.set()

    async def rehearse(self, served: BatchServed) -> float:
        """Runs one of the model's examples, once nothing is staged, to learn how long it takes now. Gives how many
        times as long that was as predicted."""
        times: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._rehearsals.append((served, times))
        self._filled.set()
        return await times

    async def _step(self) -> None:
        await self._claimer.claimed()
        staged = await self._staged()
        if not staged:
            return
        served, closing = min(
            ((served, self._closed(served)) for served in staged), key=lambda lane: urgency(lane[1], self._clock())
        )
        served.staging.take(closing.drop)
        if closing.drop:
            self._give_up(served, closing.drop)
            if closing.closed_by is not ClosedBy.FULL:
                # The dead come up first in a lane. Behind them may be a whole batch that is worth running. And what
                # was to run may have been cancelled when that has come, so the batch is closed anew.
                await self._claimer.claim_at_once()
                return
        served.staging.take(closing.run)
        if closing.run:
            await self._forward(served, closing)

    async def _staged(self) -> list[BatchServed]:
        """The lanes with staged jobs; waits for one, but not past being told to leave."""
        self._filled.clear()
        staged = [served for served in self._served.values() if served.staging]
        if not staged:
            if self._rehearsals and not self._leaving:
                await self._rehearse(*self._rehearsals.pop(0))
            elif not self._leaving:
                self._claimer.wait_for_work()
                await self._filled.wait()
        return staged

    def _closed(self, served: BatchServed) -> Closing[StagedJob]:
        return served.close(self._shares.owed(served.tiers))

    async def _forward(self, served: BatchServed, closing: Closing[StagedJob]) -> None:
        jobs = closing.run
        units = sum(job.units for job in jobs)
        expected_s = served.latency.current.of(units)
        self.busy_until_s = self._clock() + expected_s
        running = self._device.run(served.model, jobs, expected_s=expected_s)
        inline = running.done()
        if not inline:
            await asyncio.wait((running,), timeout=max(0.0, expected_s - self._claimer.lead_s))
            if not running.done() and not self._leaving:
                self._claimer.claim_ahead()
        outcomes, started_s, compute_s = await running
        self._is_free()
        self._account(served, jobs, units=units, compute_s=compute_s, ended_s=started_s + compute_s)
        if all(outcome.error is None for outcome in outcomes):
            served.ran(jobs=len(jobs), units=units, compute_s=compute_s)
        ran = Ran(
            lane=served.lane,
            started_s=started_s,
            compute_s=compute_s,
            jobs=len(jobs),
            units=units,
            closed_by=closing.closed_by,
        )
        if self._trace is not None:
            ran = ran._replace(span=self._trace(ran, jobs))
        self._reply(ran, outcomes)
        if inline:
            await asyncio.sleep(0)  # let the others have their turn

    async def _rehearse(self, served: BatchServed, times: asyncio.Future[float]) -> None:
        weight = max(1, min(round(served.mean_weight), served.model.max_units))
        expected_s = served.latency.current.of(weight)
        self.busy_until_s = self._clock() + expected_s
        took = await self._device.rehearse(served.model, weight, expected_s=expected_s)
        self._is_free()
        if took is not None:
            served.rehearsed(*took)
        if not times.done():  # else nobody wants to know any more
            times.set_result(1.0 if took is None else took[1] / max(expected_s, 1e-9))

    def _is_free(self) -> None:
        """The device is, though it was to be busy for longer."""
        self.busy_until_s = min(self.busy_until_s, self._clock())

    def _account(
        self, served: BatchServed, jobs: Sequence[StagedJob], *, units: int, compute_s: float, ended_s: float
    ) -> None:
        """Who had the device's time, and how much of it was for nothing."""
        a_unit_s = compute_s / max(units, 1)
        self._shares.spent(jobs, a_unit_s=a_unit_s)
        served.compute_s += compute_s
        served.wasted_s += a_unit_s * sum(job.units for job in jobs if job.deadline_s < ended_s)

    def _give_up(self, served: BatchServed, jobs: Sequence[StagedJob]) -> None:
        """Tells the callers of jobs that can't be done in time, without spending the device on them."""
        served.dropped += len(jobs)
        error = DeadlineExceeded("would have been answered too late; it was not run")
        ran = Ran(lane=served.lane, started_s=self._clock())
        self._reply(ran, [Outcome(job, error=error) for job in jobs])

    def _reply(self, ran: Ran, outcomes: Sequence[Outcome]) -> None:
        by_caller: dict[ReplyTo, list[Outcome]] = defaultdict(list)
        for outcome in outcomes:
            by_caller[outcome.job.reply_to].append(outcome)
        for caller, theirs in by_caller.items():
            caller.settle(ran, theirs)


def urgency(closing: Closing[StagedJob], now_s: float) -> float:
    """Which lane's turn it is, the least first: whose batch has the tightest job that will be in time. Were it the one
    with the tightest job of all, a lane whose jobs are late would keep the device from those that needn't be."""
    if closing.drop:
        return -inf
    return min((job.objective_s for job in closing.run if job.objective_s >= now_s), default=inf)
