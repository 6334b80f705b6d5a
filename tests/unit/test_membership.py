"""Membership: a node's place in the mesh, and from which lanes it may claim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes import LANE, a_job, claimed
from isochrone.keys import HEARTBEAT_S, RECORD_TTL_MS
from isochrone.memory_broker import MemoryBroker
from isochrone.node.membership import Membership
from isochrone.registry import Census, NodeRecord, RouterRecord
from isochrone.testing.virtual_time import virtual_time

OTHER = "other@cpu"
NODE = NodeRecord(boot=7, name="toy-0", address="local:0", device="cpu", lanes=(LANE, OTHER), claims=())


class Member:
    """A node as its membership sees it: whom it is linked to, and what it may claim from."""

    def __init__(self) -> None:
        self.broker = MemoryBroker(clock=asyncio.get_running_loop().time)
        self.registry = self.broker.registry()
        self.linked: set[int] = set()
        self.allowed: frozenset[str] = frozenset()
        self.connected = True
        self.census = Census()
        self.beats = 0
        self.membership = Membership(
            self.registry,
            self,  # type: ignore[arg-type]  # an intake is asked for its links alone
            record=NODE,
            claims=lambda: self.allowed if self.connected else frozenset(),
            allow=self.allow,
        )

    def is_linked(self, router: int) -> bool:
        return router in self.linked

    def allow(self, lanes: frozenset[str], census: Census) -> None:
        self.allowed, self.census = lanes, census
        self.beats += 1

    async def router(self, boot: int, *uses: str) -> None:
        await self.registry.beat(RouterRecord(boot=boot, name=f"router-{boot}", uses=uses))


@asynccontextmanager
async def member() -> AsyncIterator[Member]:
    at = Member()
    running = asyncio.create_task(at.membership.run())
    yield at
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@virtual_time
async def test_with_no_router_about_every_lane_is_safe() -> None:
    """There is nobody whose job it could not answer; and the registry soon says what it claims from."""
    async with member() as at:
        await asyncio.sleep(0.01)
        assert at.allowed == {LANE, OTHER}
        [record] = (await at.registry.read()).nodes
        assert record.claims == (OTHER, LANE)


@virtual_time
async def test_a_lane_used_by_an_unlinked_router_is_left_alone() -> None:
    """Only that lane; a link makes it safe."""
    async with member() as at:
        await at.router(1, LANE)
        await asyncio.sleep(1.1 * HEARTBEAT_S)
        assert at.allowed == {OTHER}
        at.linked.add(1)
        at.membership.check_soon()
        await asyncio.sleep(0.001)
        assert at.allowed == {LANE, OTHER}


@virtual_time
async def test_all_routers_that_use_a_lane_count() -> None:
    """One that is linked does not make up for one that isn't."""
    async with member() as at:
        at.linked = {1}
        await at.router(1, LANE, OTHER)
        await at.router(2, LANE)
        at.membership.check_soon()
        await asyncio.sleep(0.001)
        assert at.allowed == {OTHER}


@virtual_time
async def test_a_router_that_died_counts_no_more() -> None:
    """Once its record has expired."""
    async with member() as at:
        await at.router(1, LANE)
        at.membership.check_soon()
        await asyncio.sleep(0.001)
        assert LANE not in at.allowed
        await asyncio.sleep(RECORD_TTL_MS / 1e3 + HEARTBEAT_S)
        assert LANE in at.allowed


@virtual_time
async def test_it_beats_once_a_heartbeat() -> None:
    """And at once when something has changed; what it claims from is in the registry before routers need it."""
    async with member() as at:
        await asyncio.sleep(10.5 * HEARTBEAT_S)
        assert 11 <= at.beats <= 13


@virtual_time
async def test_lanes_out_of_reach_are_no_reason_to_beat_faster() -> None:
    """The registry may answer while the claiming connection is away."""
    async with member() as at:
        at.connected = False
        await asyncio.sleep(10.5 * HEARTBEAT_S)
        assert at.beats <= 13
        [record] = (await at.registry.read()).nodes
        assert record.claims == ()


@virtual_time
async def test_without_the_registry_it_goes_on_with_what_it_knows() -> None:
    """And is back in it when Redis is."""
    async with member() as at:
        await asyncio.sleep(0.01)
        at.broker.lose()
        await asyncio.sleep(5)
        assert at.allowed == {LANE, OTHER}
        at.broker.restore()
        await asyncio.sleep(1.1 * HEARTBEAT_S)
        assert [node.boot for node in (await at.registry.read()).nodes] == [NODE.boot]


@virtual_time
async def test_who_leaves_stays_away() -> None:
    """No late beat brings the record back, and a registry that is away doesn't hold it up."""
    async with member() as at:
        await asyncio.sleep(0.01)
        await at.membership.leave()
        await asyncio.sleep(3)
        assert (await at.registry.read()).nodes == ()
        at.broker.lose()
        await at.membership.leave()


@virtual_time
async def test_orphans_are_waited_for_while_their_router_lives() -> None:
    """A census taken now says so; one that is unlinked and uses the lane closes it."""
    async with member() as at:
        await asyncio.sleep(0.01)
        orphan = claimed(a_job(1, router=1))
        assert not await at.membership.orphans_found([orphan])
        await at.router(1, LANE)
        assert await at.membership.orphans_found([orphan, claimed(a_job(2, router=2))])
        assert at.allowed == {OTHER}


@virtual_time
async def test_orphans_of_nobody_known_are_kept_while_the_registry_is_away() -> None:
    """Better back in the lane than lost."""
    async with member() as at:
        at.broker.lose()
        assert await at.membership.orphans_found([claimed(a_job(1, router=1))])


@virtual_time
async def test_an_orphan_is_not_passed_round_in_circles() -> None:
    """Its router may live and no longer say that it uses the lane: until the next beat it is left alone even so."""
    async with member() as at:
        await asyncio.sleep(0.01)
        await at.router(1)
        at.allowed -= {LANE}  # as the claimer does when it finds one
        assert await at.membership.orphans_found([claimed(a_job(1, router=1))])
        assert at.allowed == {OTHER}
        await asyncio.sleep(1.1 * HEARTBEAT_S)
        assert at.allowed == {LANE, OTHER}
