"""Stand-ins for the neighbours of what is under test: lanes, links, models and jobs that do as they are told."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from google.rpc import status_pb2

from isochrone.config.placing import SHARES
from isochrone.errors import InvalidRequest, IsochroneError
from isochrone.keys import Tier
from isochrone.lane import Claimed, Entry, LaneUnavailable
from isochrone.ledger import Ledger
from isochrone.link.node_link import LinkState
from isochrone.memory_broker import MemoryBroker
from isochrone.node.claimer import Claimer
from isochrone.node.device import Device
from isochrone.node.intake import Intake
from isochrone.node.loop import NodeLoop
from isochrone.node.served import BatchServed
from isochrone.node.staging import JobKey, Outcome, Ran, StagedJob
from isochrone.rpc import Call
from isochrone.shares import Shares
from isochrone.status import from_status
from isochrone.testing.virtual_time import virtual_clock
from isochrone.tracing import Sampler
from isochrone.v1 import link_pb2
from isochrone_router.flight import Flight

LANE = "toy@cpu"
ROUTE = "isochrone.testing.v1.Toy/Echo"
URGENT_ROUTE = "isochrone.testing.v1.Toy/Sleep"
ROUTER = 0xA0
_numbers = itertools.count(1)


@dataclass(slots=True, eq=False, repr=False, kw_only=True)
class Awaited(Flight):
    """A request whose end a test can wait for."""

    answered: asyncio.Future[bytes]


def flight(
    *,
    lane: str = LANE,
    request: bytes = b"request",
    objective_s: float = 0.05,
    deadline_s: float = 1.0,
    member: bytes | None = None,
) -> Awaited:
    """A request as it goes into its lane, on the running loop's clock."""
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

    def settle(flight: Flight) -> None:
        if flight.error is None:
            answered.set_result(flight.payload)
        else:
            answered.set_exception(flight.error)

    return Awaited(
        id=job.id,
        call=Call(ROUTE, request, received_s=now_s, deadline_s=None, variant=None),
        ledger=Ledger(received_s=now_s, objective_s=objective_s, deadline_s=deadline_s),
        place=Sampler(0).place(),
        job=job,
        due_at_s=now_s + objective_s,
        deadline_at_s=now_s + deadline_s,
        over=settle,
        answered=answered,
        lane=lane,
        member=job.SerializeToString() if member is None else member,
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
        self.state = LinkState.LINKED
        self.given = 0
        self.free_at_s = 0.0
        self.has_left = False
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

    @property
    def takes_jobs(self) -> bool:
        return self.state is LinkState.LINKED

    @takes_jobs.setter
    def takes_jobs(self, takes: bool) -> None:
        self.state = LinkState.LINKED if takes else LinkState.DIALLING

    async def run(self) -> None:
        await asyncio.Event().wait()

    def check_silence(self) -> None:
        pass

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


class Toy:
    """A model whose requests say in plain text what they want: `raise`, `short`, `unencodable`, `bad`, `crash`.

    A request weighs as many units as it has bytes after a colon.
    """

    variant = "toy"
    routes: Sequence[str] = (ROUTE,)
    unit = "bytes"
    max_units = 8
    batch_units = 16
    batch_jobs = 4

    def __init__(self, clock: Callable[[], float], advance: Callable[[float], None] = lambda _: None) -> None:
        self.batches: list[list[bytes]] = []
        self.began_s: list[float] = []
        self.takes_s = 0.0
        self._clock = clock
        self._advance = advance

    def load(self) -> None:
        pass

    def decode(self, route: str, payload: bytes) -> bytes:
        if payload == b"bad":
            raise InvalidRequest.of("request", "is bad")
        if payload == b"crash":
            raise RuntimeError("decode crashed")
        return payload

    def weigh(self, item: bytes) -> int:
        return max(1, len(item.partition(b":")[2]))

    def forward(self, batch: Sequence[bytes]) -> Sequence[bytes]:
        self.batches.append(list(batch))
        self.began_s.append(self._clock())
        self._advance(self.takes_s)
        if b"raise" in batch:
            raise RuntimeError("a secret of the model")
        return batch[1:] if b"short" in batch else batch

    def encode(self, item: bytes, output: bytes) -> bytes:
        if item == b"unencodable":
            raise ValueError("a secret of the encoder")
        return output.upper()

    def example(self, units: int) -> bytes:
        return b":" + b"x" * units


class Collector:
    """ReplyTo that keeps what it is told."""

    def __init__(self) -> None:
        self.settled: list[tuple[Ran, list[Outcome]]] = []

    def settle(self, ran: Ran, outcomes: Sequence[Outcome]) -> None:
        self.settled.append((ran, list(outcomes)))

    @property
    def outcomes(self) -> dict[int, bytes | IsochroneError]:
        """What became of each job so far: its answer, or its error."""
        return {o.job.key.job: o.error or o.payload for _, outcomes in self.settled for o in outcomes}


def staged(number: int, item: bytes = b"ok", *, reply_to: Any = None, deadline_s: float = 1e9) -> StagedJob:
    return StagedJob(
        key=JobKey(ROUTER, number),
        attempt=1,
        reply_to=reply_to or Collector(),
        item=item,
        units=max(1, len(item.partition(b":")[2])),
        objective_s=deadline_s,
        deadline_s=deadline_s,
        claimed_s=0.0,
    )


def a_job(
    number: int, *, payload: bytes = b"ok", router: int = ROUTER, timeout_s: float = 10.0, **more: Any
) -> link_pb2.Job:
    """A job as its router sends it, on a clock that is the node's own."""
    now_us = int(asyncio.get_running_loop().time() * 1e6)
    fields = {
        "version": 1,
        "epoch": 1,
        "router": router,
        "id": number,
        "route": ROUTE,
        "lane": LANE,
        "payload": payload,
        "objective_us": now_us + int(timeout_s * 1e6),
        "deadline_us": now_us + int(timeout_s * 1e6),
        "weight": 1,
    }
    return link_pb2.Job(**(fields | more))


def claimed(job: link_pb2.Job) -> Claimed:
    """The same, as it is claimed from its lane."""
    return Claimed(job.lane, Tier.STANDARD, Entry(job.objective_us / 1e6, job.SerializeToString()))


class FakeRouterLink:
    """As much of a RouterLink as the node's parts use."""

    def __init__(self, router: int = ROUTER) -> None:
        self.router = router
        self.name = f"router-{router:x}"
        self.epoch = 1
        self.claims: list[tuple[list[int], float]] = []
        self.returned: list[int] = []
        self.frames = link_pb2.NodeFrames()
        self.payloads: dict[int, asyncio.Future[bytes | None]] = {}

    def claim(self, jobs: Sequence[int], finish_in_s: float) -> None:
        self.claims.append((list(jobs), finish_in_s))

    def batch_done(self) -> link_pb2.BatchDone:
        return self.frames.batches.add()

    def return_jobs(self, jobs: Sequence[int]) -> None:
        self.returned += jobs

    async def fetch(self, job: int) -> bytes | None:
        return await self.payloads.setdefault(job, asyncio.get_running_loop().create_future())

    def to_router_us(self, ours_s: float) -> int:
        return int(ours_s * 1e6)

    def to_ours_s(self, router_us: int) -> float:
        return router_us / 1e6

    @property
    def errors(self) -> dict[int, IsochroneError]:
        """By job, what it was failed with."""
        replies = [reply for done in self.frames.batches for reply in done.replies]
        return {r.job: from_status(status_pb2.Status.FromString(r.status)) for r in replies if r.status}


# A node's real parts, put together without a server.


class Urgent(Toy):
    """Another model of the same node, on a lane of its own."""

    variant = "urgent"
    routes = (URGENT_ROUTE,)


class Looping:
    """A node loop over two lanes, with jobs given to it over a link and lanes in memory to claim from."""

    def __init__(self) -> None:
        clock = virtual_clock()
        self.filled = asyncio.Event()
        self.model, self.urgent = Toy(clock, clock.advance), Urgent(clock, clock.advance)
        self.model.takes_s = self.urgent.takes_s = 0.010
        self.served = {
            served.lane: served
            for served in (
                BatchServed.warmed_up(model, device="cpu", filled=self.filled, clock=clock)
                for model in (self.model, self.urgent)
            )
        }
        self.link = FakeRouterLink()
        self.intake = Intake(self.served, clock=clock, busy_until_s=lambda: self.loop.busy_until_s)
        self.intake.link_up(self.link)  # type: ignore[arg-type]
        self.broker = MemoryBroker(clock=clock)
        shares = Shares(SHARES, clock=clock)
        self.claimer = Claimer(
            self.served,
            self.intake,
            open_lanes=self.broker.node_lanes,
            orphans_found=self._orphans_found,
            shares=shares,
            clock=clock,
        )
        self.loop = NodeLoop(
            self.served,
            claimer=self.claimer,
            device=Device("cpu", clock=clock),
            filled=self.filled,
            clock=clock,
            shares=shares,
        )
        for model in (self.model, self.urgent):
            model.batches.clear()

    async def _orphans_found(self, orphans: object) -> bool:
        return False

    def give(self, *numbers: int, **changes: object) -> None:
        self.intake.from_link(self.link, [a_job(number, **changes) for number in numbers])  # type: ignore[arg-type]

    @property
    def answered(self) -> list[int]:
        return [reply.job for done in self.link.frames.batches for reply in done.replies if not reply.status]


@asynccontextmanager
async def looping() -> AsyncIterator[Looping]:
    at = Looping()
    running = asyncio.create_task(at.loop.run())
    await asyncio.sleep(0.001)
    yield at
    running.cancel()
