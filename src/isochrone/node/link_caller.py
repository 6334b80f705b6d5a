"""A router, as whoever waits for jobs: outcomes become frames of its link."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.errors import IsochroneError
from isochrone.link.router_link import RouterLink
from isochrone.node.staging import JobKey, Outcome, Ran, StagedJob
from isochrone.status import to_status
from isochrone.v1 import link_pb2


class LinkCaller:
    """ReplyTo over a link."""

    def __init__(self, link: RouterLink) -> None:
        self.link = link

    def __repr__(self) -> str:
        return f"<LinkCaller {self.link!r}>"

    def settle(self, ran: Ran, outcomes: Sequence[Outcome]) -> None:
        link = self.link
        done = link.batch_done()
        done.lane = ran.lane
        done.started_us = link.to_router_us(ran.started_s)
        done.compute_us = int(ran.compute_s * 1e6)
        if (info := ran.as_info()) is not None:
            done.batch.CopyFrom(info)
        for outcome in outcomes:
            job = outcome.job
            done.replies.add(
                job=job.key.job,
                attempt=job.attempt,
                payload=outcome.payload,
                status=b"" if outcome.error is None else to_status(outcome.error).SerializeToString(),
                claimed_us=link.to_router_us(job.claimed_s),
                units=job.units,
            )

    def chunk(self, job: StagedJob, number: int, payload: bytes) -> None:
        self.link.chunk(job.key.job, attempt=job.attempt, number=number, payload=payload)

    def fail(self, key: JobKey, job: link_pb2.Job, error: IsochroneError, *, now_s: float) -> None:
        """Answers a job that never got as far as being staged."""
        staged = StagedJob(
            key=key,
            attempt=job.attempt,
            reply_to=self,
            item=None,
            units=0,
            objective_s=now_s,
            deadline_s=now_s,
            claimed_s=now_s,
        )
        self.settle(Ran(job.lane, now_s), [Outcome(staged, error=error)])
