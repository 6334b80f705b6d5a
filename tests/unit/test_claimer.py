"""Claimer: takes jobs from the lanes for one node, and copes with Redis coming and going."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from fakes import LANE, FakeRouterLink, Toy, a_job, claimed
from isochrone.config.placing import SHARES
from isochrone.errors import ConfigError
from isochrone.keys import Tier
from isochrone.lane import Claimed, Entry, LaneUnavailable, NodeLanes, Wants
from isochrone.latency import Latency, LatencyModel
from isochrone.memory_broker import MemoryBroker
from isochrone.node.claimer import AT_ONCE_S, CLOSE_S, Claimer
from isochrone.node.intake import Intake
from isochrone.node.served import BatchServed
from isochrone.shares import Shares
from isochrone.testing.virtual_time import virtual_time
from isochrone.v1 import link_pb2

STRANGER = 0xBEEF
"""A router without a link to this node."""


class Claiming:
    """A claimer with one lane, lanes in memory to claim from, and a linked router."""

    def __init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.broker = MemoryBroker(clock=clock)
        self.filled = asyncio.Event()
        self.served = BatchServed.warmed_up(Toy(clock), device="cpu", filled=self.filled, clock=clock)
        self.link = FakeRouterLink()
        self.intake = Intake({LANE: self.served}, clock=clock, busy_until_s=lambda: 0.0)
        self.intake.link_up(self.link)
        self.routers_live = True
        self.asked: list[Sequence[Claimed]] = []
        self.refusal: Exception | None = None
        self.claimer = Claimer(
            {LANE: self.served},
            self.intake,
            open_lanes=self.open_lanes,
            orphans_found=self.orphans_found,
            shares=Shares(SHARES, clock=clock),
            clock=clock,
        )

    async def open_lanes(self) -> NodeLanes:
        if self.refusal is not None:
            raise self.refusal
        return await self.broker.node_lanes()

    async def orphans_found(self, orphans: list[Claimed]) -> bool:
        self.asked.append(orphans)
        return self.routers_live

    def push(self, *jobs: link_pb2.Job) -> None:
        self.broker.lanes.add(LANE, Tier.STANDARD, [claimed(job).entry for job in jobs])

    @property
    def staged(self) -> list[int]:
        return [job.key.job for job in self.served.staging.jobs]

    @property
    def in_lane(self) -> list[int]:
        queue: list[Entry] = self.broker.lanes.queues.get((LANE, Tier.STANDARD), [])
        return sorted(link_pb2.Job.FromString(entry.member).id for entry in queue)


@asynccontextmanager
async def claiming(*, allowed: bool = True) -> AsyncIterator[Claiming]:
    """Connected, and allowed to claim unless a test has it wait for that."""
    at = Claiming()
    await at.claimer.start()
    running = asyncio.create_task(at.claimer.run())
    if allowed:
        at.claimer.allow({LANE})
    await asyncio.sleep(0.001)
    yield at
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_it_waits_for_work_when_told() -> None:
    """And claims the first job that comes."""
    async with claiming() as at:
        at.push(a_job(1))
        await asyncio.sleep(0.001)
        assert at.staged == []
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        assert at.staged == [1]
        at.push(a_job(2))
        await asyncio.sleep(0.001)
        assert (at.staged, at.in_lane) == ([1], [2])


@virtual_time
async def test_it_claims_no_more_than_a_batch() -> None:
    """So that an idle node leaves the rest to others."""
    async with claiming() as at:
        at.push(*(a_job(number) for number in range(10)))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        assert len(at.staged) == Toy.batch_jobs


@virtual_time
async def test_an_idle_node_leaves_work_for_idle_siblings() -> None:
    """With two nodes on a lane, it takes half of what it has room for."""
    async with claiming() as at:
        at.claimer.siblings = {LANE: 2}
        at.push(*(a_job(number) for number in range(10)))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        assert len(at.staged) == Toy.batch_jobs / 2


@virtual_time
async def test_it_claims_ahead_what_there_is_room_for() -> None:
    """At most one batch in all, and without waiting where there is nothing."""
    async with claiming() as at:
        at.claimer.claim_ahead()
        await asyncio.sleep(0.001)
        assert at.staged == []
        heavy = b"ok:" + b"x" * Toy.max_units
        at.push(*(a_job(number, payload=heavy) for number in range(10)))
        for _ in range(20):
            at.claimer.claim_ahead()
            await asyncio.sleep(0.001)
        assert Toy.batch_units <= at.served.staging.units < Toy.batch_units + Toy.batch_jobs * Toy.max_units
        assert at.served.room <= 0


@virtual_time
async def test_of_light_jobs_it_stages_no_more_than_a_batch_takes() -> None:
    """Their number fills a batch long before their units do. Under overload there are two batches to choose from."""
    async with claiming() as at:
        at.served.model.batch_jobs, at.served.model.batch_units = 4, 1000
        at.push(*(a_job(number) for number in range(20)))
        for _ in range(5):
            at.claimer.claim_ahead()
            await asyncio.sleep(0.001)
        assert len(at.staged) == 4
        at.served.overloaded = True
        for _ in range(5):
            at.claimer.claim_ahead()
            await asyncio.sleep(0.001)
        assert len(at.staged) == 8


@virtual_time
async def test_one_claim_for_the_next_batch_is_enough() -> None:
    """An idle node whose claim is under way asks no second time: what came by that would wait here for a whole batch.
    Where the claim brings nothing, it waits for work after it."""
    async with claiming() as at:
        lanes = at.claimer._lanes
        assert lanes is not None
        claim = lanes.claim

        async def slow_claim(wants: Wants) -> list[Claimed]:
            await asyncio.sleep(0.005)
            return await claim(wants)

        lanes.claim = slow_claim  # type: ignore[method-assign]
        at.claimer.claim_ahead()
        await asyncio.sleep(0.001)
        at.claimer.wait_for_work()
        assert repr(at.claimer) == f"<Claimer claiming, may claim from {LANE}>"
        at.push(a_job(1))
        await asyncio.sleep(0.002)
        assert at.staged == []
        await asyncio.sleep(0.003)
        assert at.staged == [1]
        assert at.claimer.lead_s == pytest.approx(0.0015)
        at.served.staging.take(at.served.staging.jobs)
        at.claimer.claim_ahead()
        at.claimer.wait_for_work()
        await asyncio.sleep(0.006)
        assert repr(at.claimer) == f"<Claimer waiting, may claim from {LANE}>"


@virtual_time
async def test_where_more_waits_than_was_known_it_claims_again() -> None:
    """An idle node leaves half to its sibling. If the sibling isn't there to take it, the batch isn't made of half;
    where a claim takes longer than company saves, it is."""
    async with claiming() as at:
        at.claimer.siblings = {LANE: 2}
        at.served.latency = LatencyModel(Latency(base_s=0.02, per_unit_s=0.001))
        at.push(*(a_job(number) for number in range(20)))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        assert len(at.staged) == Toy.batch_jobs
        at.served.staging.take(at.served.staging.jobs)
        at.served.latency = LatencyModel(Latency(base_s=0.0, per_unit_s=0.001))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        assert len(at.staged) == Toy.batch_jobs / 2


@virtual_time
async def test_jobs_that_are_late_already_keep_no_place() -> None:
    """They are the first of their lane. A batch of them may be staged beside those behind that can be in time."""
    async with claiming() as at:
        at.served.latency = LatencyModel(Latency(base_s=0.02, per_unit_s=0.001))
        late_us = int((asyncio.get_running_loop().time() + 0.01) * 1e6)
        at.push(*(a_job(number, objective_us=late_us) for number in range(4)))
        at.push(*(a_job(number) for number in range(4, 20)))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        assert sorted(at.staged) == list(range(4 + Toy.batch_jobs))


@virtual_time
async def test_it_claims_nothing_until_allowed() -> None:
    """A node that has just started isn't linked to anybody yet."""
    async with claiming(allowed=False) as at:
        at.push(a_job(1))
        at.claimer.wait_for_work()
        at.claimer.claim_ahead()
        await asyncio.sleep(1)
        assert (at.staged, at.claimer.allowed) == ([], frozenset())
        at.claimer.allow({LANE})
        await asyncio.sleep(0.001)
        assert (at.staged, at.claimer.allowed) == ([1], {LANE})


@virtual_time
async def test_a_lane_it_may_no_longer_claim_from_is_left_at_once() -> None:
    """The wait under way is ended, and the next one is on what is allowed."""
    async with claiming() as at:
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        at.claimer.allow(())
        await asyncio.sleep(0.001)
        at.push(a_job(1))
        await asyncio.sleep(1)
        assert at.staged == []
        at.claimer.allow({LANE})
        await asyncio.sleep(0.001)
        assert at.staged == [1]


@pytest.mark.parametrize("why", ["wrong", "expired", "old", "unreadable", "gone"])
def test_a_claim_that_leaves_nothing_to_run_does_not_end_the_waiting(why: str) -> None:
    """Refused on arrival, or its payload never came: the next job is claimed all the same."""

    @virtual_time
    async def go() -> None:
        async with claiming() as at:
            at.claimer.wait_for_work()
            await asyncio.sleep(0.001)
            if why == "unreadable":
                at.broker.lanes.add(LANE, Tier.STANDARD, [Entry(1.0, b"\xff\xff")])
            else:
                changes = {
                    "wrong": {"payload": b"bad"},
                    "expired": {"timeout_s": -1.0},
                    "old": {"epoch": 0},
                    "gone": {"payload": b"", "ticket_bytes": 9},
                }[why]
                at.push(a_job(1, **changes))
            await asyncio.sleep(0.001)
            if why == "gone":
                at.link.payloads[1].set_result(None)
            at.push(a_job(2))
            await asyncio.sleep(0.001)
            assert at.staged == [2]

    go()


@virtual_time
async def test_orphans_of_a_living_router_go_back() -> None:
    """With the score they had, and this node claims no more from there."""
    async with claiming() as at:
        before = claimed(a_job(1, router=STRANGER))
        at.broker.lanes.add(LANE, Tier.STANDARD, [before.entry])
        at.push(a_job(2))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.01)
        assert [[claim.entry for claim in orphans] for orphans in at.asked] == [[before.entry]]
        assert at.staged == [2]
        assert at.broker.lanes.queues[LANE, Tier.STANDARD] == [before.entry]
        assert at.claimer.allowed == frozenset()


@virtual_time
async def test_orphans_of_a_dead_router_are_dropped() -> None:
    """Nobody waits for them."""
    async with claiming() as at:
        at.routers_live = False
        at.push(a_job(1, router=STRANGER))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.01)
        assert (len(at.asked), at.staged, at.in_lane) == (1, [], [])


@virtual_time
async def test_after_orphans_it_goes_on_when_allowed_again() -> None:
    """Once the membership has had a look."""
    async with claiming() as at:
        at.routers_live = False
        at.push(a_job(1, router=STRANGER))
        at.claimer.wait_for_work()
        await asyncio.sleep(0.01)
        at.push(a_job(2))
        await asyncio.sleep(0.01)
        assert at.staged == []
        at.claimer.allow({LANE})
        await asyncio.sleep(0.001)
        assert at.staged == [2]


@virtual_time
async def test_it_comes_back_after_redis_was_away() -> None:
    """And waits for work again by itself, if that is what it was doing."""
    async with claiming() as at:
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        at.broker.lose()
        await asyncio.sleep(3)
        assert (at.claimer.connected, at.claimer.allowed) == (False, frozenset())
        at.broker.restore()
        await asyncio.sleep(2)
        assert at.claimer.connected
        at.push(a_job(1))
        await asyncio.sleep(0.001)
        assert at.staged == [1]


@virtual_time
async def test_it_starts_without_redis() -> None:
    """Jobs come over the links meanwhile."""
    at = Claiming()
    at.broker.lose()
    await at.claimer.start()
    running = asyncio.create_task(at.claimer.run())
    at.claimer.allow({LANE})
    at.claimer.wait_for_work()
    await asyncio.sleep(1)
    at.broker.restore()
    await asyncio.sleep(2)
    at.push(a_job(1))
    await asyncio.sleep(0.001)
    assert at.staged == [1]
    running.cancel()


@virtual_time
async def test_a_redis_that_refuses_us_is_told_at_the_start() -> None:
    """Before anything is promised."""
    at = Claiming()
    at.refusal = ConfigError("WRONGPASS")
    with pytest.raises(ConfigError):
        await at.claimer.start()


@virtual_time
async def test_a_redis_that_refuses_us_later_does_not_end_the_node() -> None:
    """A password that was changed while the node runs: it serves over the links and tries again."""
    async with claiming() as at:
        at.refusal = ConfigError("WRONGPASS")
        at.broker.lose()
        at.broker.restore()
        await asyncio.sleep(5)
        assert not at.claimer.connected
        at.refusal = None
        await asyncio.sleep(2)
        assert at.claimer.connected


@virtual_time
async def test_another_batch_can_be_had_at_once() -> None:
    """It is waited for a moment at most, and not at all where there is nobody to ask."""
    async with claiming() as at:
        at.push(a_job(1))
        await at.claimer.claim_at_once()
        assert at.staged == [1]
        claim = at.claimer._lanes.claim  # type: ignore[union-attr]

        async def slow_claim(wants: Wants) -> list[Claimed]:
            await asyncio.sleep(1)
            return await claim(wants)

        at.claimer._lanes.claim = slow_claim  # type: ignore[union-attr,method-assign]
        at.push(a_job(2))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await at.claimer.claim_at_once()
        assert loop.time() - began_s == pytest.approx(AT_ONCE_S)
        await asyncio.sleep(1.1)
        assert at.staged == [1, 2], "what comes later is staged all the same"
        at.claimer.allow(())
        began_s = loop.time()
        await at.claimer.claim_at_once()
        assert loop.time() == began_s


@virtual_time
async def test_a_connection_that_refuses_its_claims_is_given_up() -> None:
    """No permission, say: another is tried, and jobs come over the links until it works."""
    async with claiming() as at:
        first = at.claimer._lanes
        assert first is not None

        async def refused(wants: Wants) -> list[Claimed]:
            raise LaneUnavailable("NOPERM")

        first.claim = refused  # type: ignore[method-assign]
        at.claimer.claim_ahead()
        await asyncio.sleep(0.001)
        assert first.lost.done()
        assert not at.claimer.connected
        await asyncio.sleep(1)
        assert at.claimer.connected


@virtual_time
async def test_closing_ends_the_wait_and_the_connection() -> None:
    """Promptly; so Redis has nobody here to give jobs to, however long it was silent."""
    async with claiming() as at:
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        lanes = at.claimer._lanes
        assert lanes is not None
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await at.claimer.close()
        assert loop.time() - began_s < 0.01
        assert lanes.lost.done()
        at.push(a_job(1))
        await asyncio.sleep(1)
        assert (at.staged, at.in_lane) == ([], [1])


@virtual_time
async def test_closing_does_not_wait_for_a_silent_redis() -> None:
    """A last claim has its time, and no more."""
    async with claiming() as at:

        async def silent(*_: object) -> list[Claimed]:
            await asyncio.Event().wait()
            return []

        at.claimer._lanes.wait = at.claimer._lanes.interrupt = silent  # type: ignore[union-attr,method-assign]
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await at.claimer.close()
        assert loop.time() - began_s == pytest.approx(CLOSE_S)


@virtual_time
async def test_closing_stages_what_was_just_claimed() -> None:
    """Nothing more is claimed, and no job is lost on the way."""
    async with claiming() as at:
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        at.push(a_job(1))
        await at.claimer.close()
        at.push(a_job(2))
        await asyncio.sleep(1)
        assert sorted([*at.staged, *at.in_lane]) == [1, 2]
        assert 2 in at.in_lane


@virtual_time
async def test_without_lanes_there_is_nothing_to_claim() -> None:
    """A mesh without Redis: its loop ends at once, and telling it to wait is no error."""
    at = Claiming()
    claimer = Claimer(
        {LANE: at.served},
        at.intake,
        open_lanes=None,
        orphans_found=at.orphans_found,
        shares=Shares(SHARES, clock=lambda: 0.0),
        clock=lambda: 0.0,
    )
    await claimer.start()
    await claimer.run()
    claimer.wait_for_work()
    claimer.claim_ahead()
    await claimer.close()
    assert not claimer.connected


@virtual_time
async def test_what_a_claim_under_way_still_brings_is_given_back() -> None:
    """The node has become too slow for the lane meanwhile; what it can do in time it keeps."""
    async with claiming() as at:
        at.claimer.wait_for_work()
        await asyncio.sleep(0.001)
        at.served.stands_back = True
        at.served.latency.current = Latency(0.1, 0.0)
        at.push(a_job(1, timeout_s=0.05), a_job(2, timeout_s=0.5))
        at.claimer.forgo({LANE})
        await asyncio.sleep(0.001)
        assert (at.link.returned, at.staged, at.in_lane) == ([1], [2], [])
        at.push(a_job(3))
        await asyncio.sleep(0.001)
        assert at.in_lane == [3]
