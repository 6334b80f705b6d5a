"""Links: dialling nodes, and which lanes are safe to use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fakes import LANE, FakeLink
from isochrone.keys import HEARTBEAT_S, RECORD_TTL_MS
from isochrone.link.node_link import LinkState
from isochrone.memory_broker import MemoryBroker
from isochrone.registry import NodeRecord
from isochrone.testing.virtual_time import virtual_time
from isochrone.v1 import link_pb2
from isochrone_router.lane_view import LaneView, LinkedNode, see_each_other
from isochrone_router.links import GIVEN_UP_BEATS, Links

OTHER = "other@cpu"
SOON_S = 0.01


class Router:
    """As much of a router as its links need: a registry, a gate, and nodes that may be dialled."""

    def __init__(self, *addresses: str, registry: bool = True) -> None:
        self.broker = MemoryBroker(clock=asyncio.get_running_loop().time)
        self.registry = self.broker.registry()
        self.gate_is_up = True
        self.reachable = True
        self.closed: list[str] = []
        self.links = Links(
            [LaneView(LANE), LaneView(OTHER)],
            hello=link_pb2.Hello(router=0xA0, name="router", epoch=1),
            new_link=self._dial,  # type: ignore[arg-type]
            addresses=addresses,
            registry=self.registry if registry else None,
            gate_is_up=lambda: self.gate_is_up,
            lane_closed=self.closed.append,
        )

    def _dial(self, address: str, hello: link_pb2.Hello) -> FakeLink:
        link = FakeLink(address, LANE)
        link.epoch = hello.epoch
        if not self.reachable:
            link.state = LinkState.DIALLING
            link.node = 0
        return link

    def link(self, address: str) -> FakeLink:
        found = self.links.links[address]
        assert isinstance(found, FakeLink)
        return found

    @property
    def is_open(self) -> bool:
        return self.links.views[LANE].is_open

    @property
    def nodes(self) -> list[str]:
        return [node.link.name for node in self.links.views[LANE].nodes]

    async def node(self, address: str, *claims: str) -> None:
        """A node announces itself."""
        boot = FakeLink(address).node
        await self.registry.beat(
            NodeRecord(boot=boot, name=address, address=address, device="cpu", lanes=(LANE,), claims=claims)
        )

    async def keep_announcing(self, address: str, *claims: str) -> None:
        while True:
            await self.node(address, *claims)
            await asyncio.sleep(HEARTBEAT_S)


@asynccontextmanager
async def running(router: Router) -> AsyncIterator[Router]:
    await router.links.start()
    task = asyncio.create_task(router.links.run())
    router.links.refresh()
    await asyncio.sleep(SOON_S)
    yield router
    task.cancel()
    await router.links.close()


@virtual_time
async def test_who_is_told_of_a_closed_lane_finds_all_views_made_anew() -> None:
    """What was in it is sent elsewhere at once, and what fails may ask again: by plans for the mesh as it is now."""
    router = Router()
    await router.node("a", LANE)
    async with running(router):
        await asyncio.sleep(1.5 * HEARTBEAT_S)
        assert router.is_open
        views = router.links.views
        before, seen = views[LANE].changes, []
        router.links._lane_closed = lambda lane: seen.append(
            (lane, views[lane].changes, len(views[lane].forecast.nodes))
        )
        router.link("a").state = LinkState.DIALLING
        router.links.refresh()
        assert seen == [(LANE, before + 1, 0)]


@virtual_time
async def test_nodes_of_the_file_and_of_the_registry_are_dialled() -> None:
    """Each once, those that come later within a heartbeat."""
    router = Router("fixed")
    await router.node("early", LANE)
    async with running(router):
        assert sorted(router.links.links) == ["early", "fixed"]
        await router.node("late", LANE)
        await asyncio.sleep(1.5 * HEARTBEAT_S)
        assert sorted(router.links.links) == ["early", "fixed", "late"]


@virtual_time
async def test_a_lane_opens_once_the_registry_knows_that_it_is_used() -> None:
    """So no node can start to claim from it without knowing of us."""
    router = Router()
    await router.node("a", LANE)
    await router.links.start()
    router.links.refresh()
    assert (router.nodes, router.is_open) == (["a"], False)
    task = asyncio.create_task(router.links.run())
    await asyncio.sleep(SOON_S)
    assert router.is_open
    [record] = (await router.registry.read()).routers
    assert record.uses == (LANE,)
    task.cancel()
    await router.links.close()


@virtual_time
async def test_a_lane_needs_somebody_who_claims_from_it() -> None:
    """A node that serves it and doesn't claim gets its jobs over the link."""
    router = Router("a")
    async with running(router):
        router.link("a").report.ClearField("claiming")
        router.links.refresh()
        assert (router.nodes, router.is_open, router.closed) == (["a"], False, [LANE])


@virtual_time
async def test_without_redis_no_lane_is_open() -> None:
    """Its closing is told, once, so that what waits there is sent another way."""
    async with running(Router("a")) as router:
        assert router.is_open
        router.gate_is_up = False
        router.links.refresh()
        router.links.refresh()
        assert (router.is_open, router.closed) == (False, [LANE])
        await asyncio.sleep(1.5 * HEARTBEAT_S)
        assert (await router.registry.read()).routers[0].uses == ()


@virtual_time
async def test_a_claimer_out_of_reach_closes_the_lane() -> None:
    """It could claim a job of ours and not answer it; when it has gone, the lane opens again."""
    async with running(Router("a")) as router:
        assert router.is_open
        router.reachable = False
        await router.node("stranger", LANE)
        await asyncio.sleep(1.1 * HEARTBEAT_S)
        assert (router.is_open, router.closed) == (False, [LANE])
        await asyncio.sleep(HEARTBEAT_S)
        assert (await router.registry.read()).routers[0].uses == ()
        await asyncio.sleep(RECORD_TTL_MS / 1e3 + HEARTBEAT_S)
        assert router.is_open
        assert "stranger" not in router.links.links, "nobody dials a node that is gone"


@virtual_time
@pytest.mark.parametrize("in_order", [True, False])
async def test_a_node_that_left_in_order_closes_no_lane(in_order: bool) -> None:
    """The census may still know it, but it claims nothing more; of one whose link just broke, nobody knows."""
    at = Router("local:0", "local:1")
    await at.node("local:0", LANE)
    await at.node("local:1", LANE)
    async with running(at):
        await asyncio.sleep(2.1 * HEARTBEAT_S)
        assert at.is_open
        link = at.link("local:1")
        link.state, link.has_left = LinkState.DIALLING, in_order
        at.links.take_over_from(link)  # type: ignore[arg-type]
        at.links.refresh()
        assert at.is_open == in_order


@virtual_time
async def test_a_new_node_is_given_the_time_to_be_dialled() -> None:
    """It doesn't claim yet, so nothing of ours can get lost there; only one never reached closes the lane."""
    async with running(Router("a")) as router:
        router.reachable = False
        announcing = asyncio.create_task(router.keep_announcing("new"))
        await asyncio.sleep((GIVEN_UP_BEATS - 0.5) * HEARTBEAT_S)
        assert router.is_open
        await asyncio.sleep(2 * HEARTBEAT_S)
        assert not router.is_open
        router.link("new").state = LinkState.LINKED
        router.link("new").node = FakeLink("new").node
        router.links.refresh()
        await asyncio.sleep(1.5 * HEARTBEAT_S)
        assert router.is_open
        announcing.cancel()


@virtual_time
async def test_silent_nodes_are_used_only_where_there_is_no_other() -> None:
    """One that is silent may be short of a core, no more."""
    async with running(Router("a", "b")) as router:
        router.link("a").state = LinkState.SILENT
        router.links.refresh()
        assert router.nodes == ["b"]
        router.link("b").state = LinkState.SILENT
        router.links.refresh()
        assert router.nodes == ["a", "b"]


@virtual_time
async def test_the_registry_may_be_away() -> None:
    """What was known goes on; nobody is forgotten."""
    async with running(Router("a")) as router:
        await router.node("b", LANE)
        await asyncio.sleep(1.1 * HEARTBEAT_S)
        router.broker.lose()
        await asyncio.sleep(5 * HEARTBEAT_S)
        assert sorted(router.links.links) == ["a", "b"]
        assert sorted(router.nodes) == ["a", "b"]


@virtual_time
async def test_without_a_registry_there_are_the_links_alone() -> None:
    """A mesh that is configured without Redis."""
    router = Router("a", registry=False)
    router.gate_is_up = False
    async with running(router):
        await asyncio.sleep(3 * HEARTBEAT_S)
        assert (router.nodes, router.is_open) == (["a"], False)
        await router.links.leave()
        assert router.link("a").draining


@virtual_time
async def test_who_leaves_tells_nodes_and_registry() -> None:
    """And does not come back with the next beat."""
    async with running(Router("a")) as router:
        await router.links.leave()
        assert router.link("a").draining
        await asyncio.sleep(3 * HEARTBEAT_S)
        assert (await router.registry.read()).routers == ()


@virtual_time
async def test_every_link_learns_the_epoch() -> None:
    """Those that are dialled later with their hello."""
    async with running(Router("a")) as router:
        router.links.tell_epoch(5)
        await router.node("b", LANE)
        await asyncio.sleep(1.1 * HEARTBEAT_S)
        assert (router.link("a").epoch, router.link("b").epoch) == (5, 5)


def test_a_nodes_backlog_is_what_it_has_been_given() -> None:
    """By its own latency as it reports it, or as it introduced itself before it has run anything."""
    link = FakeLink("a", LANE, per_unit_us=2000)
    node = LinkedNode(link, LANE)  # type: ignore[arg-type]
    assert node.backlog_s == 0
    link.given = 3
    assert node.backlog_s == pytest.approx(0.006, rel=0.01)
    link.report.lanes.add(
        lane=LANE, latency=link_pb2.Latency(base_us=8000, per_unit_us=100), mean_jobs=4, mean_units=40
    )
    node.renew()
    assert node.per_job_s == pytest.approx(0.003)
    assert node.backlog_s == pytest.approx(0.009, rel=0.01)


def test_nodes_that_take_no_time_still_share() -> None:
    """Where a job costs nothing by the prediction, the one that has fewer gets the next."""
    links = [FakeLink(name, LANE, per_unit_us=0) for name in "ab"]
    links[0].given = 1
    nodes = [LinkedNode(link, LANE) for link in links]  # type: ignore[arg-type]
    assert min(nodes, key=lambda node: node.backlog_s).link is links[1]


@virtual_time
async def test_a_closed_lane_has_no_other_beside_it() -> None:
    """Its nodes claim from it no more: what waits for them elsewhere is no longer in the way of anything here."""
    links = [FakeLink("a", LANE, OTHER), FakeLink("b", LANE, OTHER)]
    views = [LaneView(lane, nodes=[LinkedNode(link, lane) for link in links], is_open=True) for lane in (LANE, OTHER)]  # type: ignore[arg-type]
    see_each_other(views)
    assert [view.forecast.beside for view in views] == [[(views[1].forecast, 1.0)], [(views[0].forecast, 1.0)]]
    views[1].is_open = False
    see_each_other(views)
    assert [list(view.forecast.beside) for view in views] == [[], []]
