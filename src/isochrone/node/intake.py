"""Turns what arrives at a node, from a lane, a link or a caller of its own, into staged jobs."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from google.protobuf.message import DecodeError

from isochrone.deadline import Clock
from isochrone.errors import DeadlineExceeded, InvalidRequest, IsochroneError, Unavailable
from isochrone.incidents import incident
from isochrone.keys import Tier
from isochrone.lane import Claimed
from isochrone.link.router_link import RouterLink
from isochrone.node.credit import Credit
from isochrone.node.link_caller import LinkCaller
from isochrone.node.pace import too_late
from isochrone.node.served import Served
from isochrone.node.staging import JobKey, Outcome, Ran, ReplyTo, Seen, StagedJob
from isochrone.tracing import trace_id_of
from isochrone.v1 import link_pb2

log = logging.getLogger(__name__)

ENVELOPE_VERSION = 1
DECODERS = 2
"""Threads for models that decode beside the event loop."""


class Intake:
    """The node's front door. Everything that can be refused is refused here, before it costs compute."""

    def __init__(self, served: Mapping[str, Served], *, clock: Clock, busy_until_s: Callable[[], float]) -> None:
        self._served = served
        self._clock = clock
        self._busy_until_s = busy_until_s
        self._callers: dict[int, LinkCaller] = {}
        self._seen = Seen()
        self._fetches: dict[JobKey, asyncio.Task[None]] = {}
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
        self._told: set[str] = set()
        self.leaving = False

    @property
    def links(self) -> Iterable[RouterLink]:
        return [caller.link for caller in self._callers.values()]

    def close(self) -> None:
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @property
    def fetching(self) -> int:
        """Jobs whose payload is on its way, or being decoded."""
        return len(self._fetches)

    async def fetched(self, *, timeout_s: float) -> None:
        """Waits until every payload on its way has come, or the time is up."""
        if self._fetches:
            await asyncio.wait(self._fetches.values(), timeout=max(0.0, timeout_s))

    def is_linked(self, router: int) -> bool:
        return router in self._callers

    def link_up(self, link: RouterLink) -> None:
        """A router that dials anew has given its old link up, whether or not that is known here."""
        former = self._callers.get(link.router)
        if former is not None:
            self.link_down(former.link)
        self._callers[link.router] = LinkCaller(link)

    def link_down(self, link: RouterLink) -> None:
        """Nobody waits for that router's jobs any more."""
        caller = self._callers.get(link.router)
        if caller is None or caller.link is not link:
            return  # it has dialled anew since
        del self._callers[link.router]
        for key, task in list(self._fetches.items()):
            if key.owner == link.router:
                task.cancel()
        for served in self._served.values():
            served.cancel_all_of(caller)
        self._seen.forget_owner(link.router)

    def from_lanes(self, claimed: Sequence[Claimed]) -> list[Claimed]:
        """Stages jobs claimed from lanes. Gives back those whose router this node has no link to."""
        orphans: list[Claimed] = []
        accepted: dict[LinkCaller, list[link_pb2.Job]] = defaultdict(list)
        for claim in claimed:
            try:
                job = link_pb2.Job.FromString(claim.entry.member)
            except DecodeError:
                continue  # not written by a router of ours; nobody waits for it
            caller = self._callers.get(job.router)
            if caller is None:
                orphans.append(claim)
            elif job.epoch >= caller.link.epoch:
                job.tier = claim.tier
                accepted[caller].append(job)
        for caller, jobs in accepted.items():
            self._accept(caller, jobs)
        return orphans

    def from_link(self, link: RouterLink, jobs: Sequence[link_pb2.Job]) -> None:
        """Stages jobs addressed to this node."""
        caller = self._callers.get(link.router)
        if caller is None:
            return
        idle = self._clock() >= self._busy_until_s() and not any(served.backlog for served in self._served.values())
        here = [job for job in jobs if job.lane in self._served and not self.leaving]
        if len(here) < len(jobs):
            link.return_jobs([job.id for job in jobs if job.lane not in self._served or self.leaving])
        self._accept(caller, here)
        if idle:
            for lane in {job.lane for job in here}:
                self._served[lane].came_to_idle()

    def from_caller(
        self,
        served: Served,
        route: str,
        payload: bytes,
        *,
        key: JobKey,
        reply_to: ReplyTo,
        deadline_s: float,
        credit: Credit | None = None,
    ) -> None:
        """Stages a call of this node's own API."""
        self._stage(
            served,
            route,
            payload,
            key=key,
            attempt=1,
            reply_to=reply_to,
            objective_s=deadline_s,
            deadline_s=deadline_s,
            credit=credit,
        )

    def cancel(self, owner: int, jobs: Iterable[int]) -> None:
        """Forgets jobs whose callers have gone. A batch that is running goes on, and their answers are ignored."""
        for job in jobs:
            key = JobKey(owner, job)
            fetch = self._fetches.get(key)
            if fetch is not None:
                fetch.cancel()
            for served in self._served.values():
                if served.cancel(key):
                    break

    def give_back(self, served: Served) -> int:
        """Returns staged jobs that this node can't do in time to their routers, which ask others. Calls of the node's
        own API stay: there is nobody else to ask. Gives their number."""
        free_at_s = max(self._busy_until_s(), self._clock())
        late = too_late(served.staging.jobs, free_at_s=free_at_s, latency=served.latency.current)
        returned: dict[LinkCaller, list[StagedJob]] = defaultdict(list)
        for job in late:
            if isinstance(job.reply_to, LinkCaller):
                returned[job.reply_to].append(job)
        for caller, jobs in returned.items():
            served.staging.take(jobs)
            for job in jobs:
                self._seen.forget(job.key)
            caller.link.return_jobs([job.key.job for job in jobs])
        return sum(map(len, returned.values()))

    def grant(self, owner: int, job: int, chunks: int) -> None:
        """Whoever takes a job's chunks has room for more."""
        for served in self._served.values():
            served.grant(JobKey(owner, job), chunks)

    def _accept(self, caller: LinkCaller, jobs: Sequence[link_pb2.Job]) -> None:
        """Stages what is new of a router's jobs, and tells it that they are here and when they will be done."""
        fresh = [job for job in jobs if self._seen.is_new(JobKey(job.router, job.id))]
        if not fresh:
            return
        work_s: dict[str, float] = {}
        beside: dict[str, list[int]] = defaultdict(list)
        others: list[int] = []
        for job in fresh:
            self._admit(caller, job)
            served = self._served.get(job.lane)
            if served is not None:
                work_s[job.lane] = served.work_s(job.weight or 1)
            (beside[job.lane] if served is not None and served.runs_beside else others).append(job.id)
        for lane, ids in beside.items():  # they take long, and nobody waits for the device because of them
            caller.link.claim(ids, work_s.pop(lane), beside=True)
        if others:
            before_s = sum(served.staged_s for lane, served in self._served.items() if lane not in work_s)
            finish_in_s = max(0.0, self._busy_until_s() - self._clock()) + before_s + sum(work_s.values())
            caller.link.claim(others, finish_in_s)

    def _admit(self, caller: LinkCaller, job: link_pb2.Job) -> None:
        key = JobKey(job.router, job.id)
        served = self._served.get(job.lane)
        if job.version != ENVELOPE_VERSION or served is None:
            caller.fail(key, job, self._not_understood(job), now_s=self._clock())
            return
        deadline_s = caller.link.to_ours_s(job.deadline_us)
        if self._clock() >= deadline_s:
            error = DeadlineExceeded("expired while it waited in the lane; it was not run")
            caller.fail(key, job, error, now_s=self._clock())
            return
        if job.ticket_bytes:
            task = asyncio.create_task(self._fetch(caller, served, job, key), name=f"fetch {key.job}")
            self._fetches[key] = task
            served.staging.expect(job.weight)
            task.add_done_callback(lambda _: self._fetch_ended(key, served, job.weight))
            return
        self._stage_job(caller, served, job, key, job.payload)

    def _not_understood(self, job: link_pb2.Job) -> IsochroneError:
        if job.version != ENVELOPE_VERSION:
            told = f"this node reads envelope version {ENVELOPE_VERSION}, not {job.version}: upgrade the older"
            error = Unavailable(told, reason="ENVELOPE_VERSION")
        else:
            error = Unavailable(f"this node has no lane {job.lane!r}", reason="UNKNOWN_LANE")
        if error.message not in self._told:  # once: more of them will come
            self._told.add(error.message)
            log.error("from router %016x: %s", job.router, error.message)
        return error

    async def _fetch(self, caller: LinkCaller, served: Served, job: link_pb2.Job, key: JobKey) -> None:
        """Brings a large request's bytes over the link. Cancelled when its caller goes."""
        payload = await caller.link.fetch(job.id)
        if payload is not None:
            self._stage_job(caller, served, job, key, payload)

    def _fetch_ended(self, key: JobKey, served: Served, units: int) -> None:
        task = self._fetches.get(key)
        if task is not None and task.done():  # else it is being decoded since
            del self._fetches[key]
        served.staging.no_longer_expect(units)

    def _stage_job(self, caller: LinkCaller, served: Served, job: link_pb2.Job, key: JobKey, payload: bytes) -> None:
        self._stage(
            served,
            job.route,
            payload,
            key=key,
            tier=_tier_of(job),
            attempt=job.attempt,
            reply_to=caller,
            objective_s=caller.link.to_ours_s(job.objective_us),
            deadline_s=caller.link.to_ours_s(job.deadline_us),
            credit=Credit(job.credits) if job.credits else None,
            traceparent=job.traceparent,
        )

    def _stage(
        self,
        served: Served,
        route: str,
        payload: bytes,
        *,
        key: JobKey,
        attempt: int,
        reply_to: ReplyTo,
        objective_s: float,
        deadline_s: float,
        tier: Tier = Tier.STANDARD,
        credit: Credit | None = None,
        traceparent: str = "",
    ) -> None:
        staged = StagedJob(
            key=key,
            attempt=attempt,
            reply_to=reply_to,
            item=None,
            units=0,
            objective_s=objective_s,
            deadline_s=deadline_s,
            claimed_s=self._clock(),
            tier=tier,
            credit=credit,
            traceparent=traceparent,
        )
        if not served.decodes_beside:
            self._add(served, staged, _decoded(served, staged, route, payload))
            return
        task = asyncio.create_task(self._decode_beside(served, staged, route, payload), name=f"decode {key.job}")
        self._fetches[key] = task
        served.staging.expect(1)
        task.add_done_callback(lambda _: self._fetch_ended(key, served, 1))

    async def _decode_beside(self, served: Served, staged: StagedJob, route: str, payload: bytes) -> None:
        """Cancelled when its caller goes; a decoding that has begun is finished, and forgotten."""
        loop = asyncio.get_running_loop()
        error = await loop.run_in_executor(self._decoders, _decoded, served, staged, route, payload)
        self._add(served, staged, error)

    def _add(self, served: Served, staged: StagedJob, error: IsochroneError | None) -> None:
        if error is None:
            served.staging.add(staged)
            served.came(staged.units, self._clock())
        else:
            staged.reply_to.settle(Ran(served.lane, self._clock()), [Outcome(staged, error=error)])


_TIERS = {str(tier): tier for tier in Tier}


def _tier_of(job: link_pb2.Job) -> Tier:
    """Standard where its router says none, or one that this version doesn't know."""
    return _TIERS.get(job.tier, Tier.STANDARD)


def _decoded(served: Served, staged: StagedJob, route: str, payload: bytes) -> IsochroneError | None:
    """Fills in the item and its weight, or says why there is none."""
    model = served.model
    try:
        staged.item = model.decode(route, payload)
        staged.units = model.weigh(staged.item)
    except IsochroneError as error:
        return error
    except Exception as error:
        return incident(f"{model.variant}: decode raised", error, trace_id=trace_id_of(staged.traceparent))
    if staged.units > model.max_units:
        return InvalidRequest.of(
            "request", f"has {staged.units} {model.unit}; at most {model.max_units} are taken at once"
        )
    return None
