"""Stand-ins for the neighbours of what is under test: lanes, links and flights that do as they are told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

from isochrone.keys import Tier
from isochrone.lane import Entry, LaneUnavailable
from isochrone.ledger import Ledger
from isochrone.rpc import Call
from isochrone.v1 import link_pb2
from isochrone_router.flight import Flight

LANE = "toy@cpu"
ROUTE = "isochrone.testing.v1.Toy/Echo"
ROUTER = 0xA0
_numbers = itertools.count(1)


def flight(
    *, lane: str = LANE, request: bytes = b"request", objective_s: float = 0.05, deadline_s: float = 1.0
) -> Flight:
    """A request that has just been admitted, on the running loop's clock."""
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    job = link_pb2.Job(
        version=1,
        router=ROUTER,
        id=next(_numbers),
        route=ROUTE,
        lane=lane,
        objective_us=int((now_s + objective_s) * 1e6),
        deadline_us=int((now_s + deadline_s) * 1e6),
        weight=1,
    )
    answered: asyncio.Future[bytes] = loop.create_future()
    answered.add_done_callback(lambda future: future.cancelled() or future.exception())  # nobody need ask
    return Flight(
        call=Call(ROUTE, request, received_s=now_s, deadline_s=None, variant=None),
        ledger=Ledger(received_s=now_s, objective_s=objective_s, deadline_s=deadline_s),
        job=job,
        objective_at_s=now_s + objective_s,
        deadline_at_s=now_s + deadline_s,
        answered=answered,
        lane=lane,
        member=job.SerializeToString(),
    )


class FakeLanes:
    """RouterLanes whose replies come when the test says so, or at once while `prompt`."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self.loop.create_future()
        self.prompt = True
        self.waiting: dict[bytes, float] = {}
        """What is in the lanes: member and score."""
        self.pushes: list[list[Entry]] = []
        self.removed: list[bytes] = []
        self.refusal: str | None = None
        """What pushes are refused with, if they are."""
        self.ahead_s = 5000.0
        """How far the lanes' clock is ahead of ours."""
        self.outstanding: list[tuple[asyncio.Future[Any], Any]] = []
        """Questions without a reply yet."""

    def close(self) -> None:
        if not self.lost.done():
            self.lost.set_result(None)
            for future, _ in self.outstanding:
                if not future.done():
                    future.set_exception(LaneUnavailable("closed"))
                    future.exception()
            self.outstanding.clear()

    def answer_all(self) -> None:
        """Lets all replies come that are outstanding."""
        for future, value in self.outstanding:
            if not future.done():
                future.set_result(value)
        self.outstanding.clear()

    def ping(self) -> asyncio.Future[float]:
        return self._reply(self.loop.time() + self.ahead_s)

    def push(self, lane: str, tier: Tier, entries: Sequence[Entry]) -> asyncio.Future[int]:
        self.pushes.append(list(entries))
        if self.refusal:
            future: asyncio.Future[int] = self.loop.create_future()
            future.set_exception(LaneUnavailable(self.refusal))
            future.exception()
            return future
        self.waiting |= {entry.member: entry.due for entry in entries}
        return self._reply(len(self.waiting))

    def remove(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[int]:
        self.removed += members
        return self._reply(sum(self.waiting.pop(member, None) is not None for member in members))

    def present(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[list[bool]]:
        return self._reply([member in self.waiting for member in members])

    def count(self, lane: str, tier: Tier) -> asyncio.Future[int]:
        return self._reply(len(self.waiting))

    def _reply(self, value: Any) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self.loop.create_future()
        if self.prompt:
            future.set_result(value)
        else:
            self.outstanding.append((future, value))
        return future


class FakeLink:
    """As much of a NodeLink as the router's parts use: it takes jobs and remembers what it was told."""

    def __init__(self, name: str, *lanes: str, per_unit_us: float = 1000.0) -> None:
        self.name = self.address = name
        self.node = sum(name.encode())
        self.takes_jobs = True
        self.given = 0
        self.epoch = 0
        self.draining = False
        self.submitted: list[link_pb2.Job] = []
        self.cancelled: list[int] = []
        self.variants = {
            lane: link_pb2.Variant(lane=lane, latency=link_pb2.Latency(per_unit_us=per_unit_us)) for lane in lanes
        }
        self.report = link_pb2.NodeState(claiming=lanes)

    def __repr__(self) -> str:
        return f"<FakeLink {self.name}>"

    def submit(self, job: link_pb2.Job) -> None:
        copy = link_pb2.Job()
        copy.CopyFrom(job)
        self.submitted.append(copy)

    def cancel(self, job: int) -> None:
        self.cancelled.append(job)

    def tell_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def drain(self) -> None:
        self.draining = True
