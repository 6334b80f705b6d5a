"""Lanes: the contract of the shared queue, kept by Redis and by its twin in memory alike."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from redis import Redis

from isochrone.broker import Broker
from isochrone.config import RedisConfig
from isochrone.errors import ConfigError
from isochrone.keys import LANE_TTL_MS, Keys, Queue, Tier
from isochrone.lane import Claimed, Entry, LaneUnavailable, NodeLanes, RouterLanes, Want
from isochrone.memory_broker import MemoryBroker
from isochrone.redis_broker import RedisBroker
from isochrone.redis_lane import RedisNodeLanes, RedisRouterLanes
from isochrone.resp import RedisAddress

LANE = "toy.v1@cpu"
OTHER = "toy.v2@cpu"
SOON_S = 5.0
"""Far longer than anything here takes."""


@pytest.fixture
async def router(broker: Broker) -> AsyncIterator[RouterLanes]:
    lanes = await broker.router_lanes()
    yield lanes
    lanes.close()


@pytest.fixture
async def node(broker: Broker) -> AsyncIterator[NodeLanes]:
    lanes = await broker.node_lanes()
    yield lanes
    lanes.close()


def entries(*dues: float) -> list[Entry]:
    return [Entry(due, f"job due {due}".encode()) for due in dues]


def dues(claimed: Sequence[Claimed]) -> list[float]:
    return [claim.entry.due for claim in claimed]


async def waiting(node: NodeLanes, wants: dict[str, Want]) -> asyncio.Task[list[Claimed]]:
    """A wait that has begun, and has found nothing yet."""
    task = asyncio.create_task(node.wait(wants))
    await asyncio.sleep(0.02)
    assert not task.done()
    return task


async def test_a_push_tells_how_many_then_wait(router: RouterLanes) -> None:
    """In that lane and tier alone, those of other routers among them."""
    assert await router.push(LANE, Tier.STANDARD, entries(1, 2, 3)) == 3
    assert await router.push(LANE, Tier.STANDARD, entries(4)) == 4
    assert await router.push(LANE, Tier.GOLD, entries(5)) == 1
    assert await router.push(OTHER, Tier.STANDARD, entries(6)) == 1
    assert await router.count(LANE, Tier.STANDARD) == 4
    assert await router.count(LANE, Tier.BATCH) == 0


async def test_the_most_urgent_are_claimed_first(router: RouterLanes, node: NodeLanes) -> None:
    """In the order they are due, whatever the order they came in."""
    await router.push(LANE, Tier.STANDARD, entries(30.5, 10.25, 20))
    await router.push(LANE, Tier.STANDARD, entries(5))
    assert dues(await node.claim({LANE: Want(3)})) == [5, 10.25, 20]
    assert dues(await node.claim({LANE: Want(3)})) == [30.5]
    assert await node.claim({LANE: Want(3)}) == []


async def test_a_claim_gives_what_was_pushed(router: RouterLanes, node: NodeLanes) -> None:
    """Lane, tier, the exact score and the exact bytes, whatever they are."""
    entry = Entry(1234567.123456, bytes(range(256)) + b"\r\n$5\r\n")
    await router.push(LANE, Tier.GOLD, [entry])
    assert await node.claim({LANE: Want(1)}) == [Claimed(LANE, Tier.GOLD, entry)]


async def test_higher_tiers_come_first(router: RouterLanes, node: NodeLanes) -> None:
    """Gold before standard before batch, however urgent those are, waited for or claimed."""
    for tier, due in ((Tier.BATCH, 1), (Tier.STANDARD, 2), (Tier.GOLD, 3)):
        await router.push(LANE, tier, entries(due, due + 10))
    assert dues(await node.claim({LANE: Want(1)})) == [3]
    assert dues(await node.wait({LANE: Want(2)})) == [13, 2]
    await router.push(LANE, Tier.GOLD, entries(99))
    assert dues(await node.claim({LANE: Want(9)}))[0] == 99


async def test_a_claim_takes_of_each_tier_what_is_wanted(router: RouterLanes, node: NodeLanes) -> None:
    """The preferred first, though it is the lowest; and tells how many were left."""
    for tier in Tier:
        await router.push(LANE, tier, entries(*(f * 1.0 for f in range(5))))
    claimed = await node.claim({LANE: Want(4, {Tier.BATCH: 1, Tier.GOLD: 3})})
    assert [claim.tier for claim in claimed] == [Tier.BATCH, *[Tier.GOLD] * 3]
    assert node.left == {Queue(LANE, Tier.GOLD): 2, Queue(LANE, Tier.STANDARD): 5, Queue(LANE, Tier.BATCH): 4}
    claimed = await node.wait({LANE: Want(3, {Tier.STANDARD: 3, Tier.GOLD: 3, Tier.BATCH: 3})})
    assert [claim.tier for claim in claimed] == [Tier.STANDARD] * 3
    assert node.left == {Queue(LANE, Tier.GOLD): 2, Queue(LANE, Tier.STANDARD): 2, Queue(LANE, Tier.BATCH): 4}


async def test_a_wait_takes_what_is_there_at_once(router: RouterLanes, node: NodeLanes) -> None:
    """A whole batch, the highest tier's most urgent job first, and no more than is wanted."""
    await router.push(LANE, Tier.STANDARD, entries(1, 2, 3, 4))
    await router.push(LANE, Tier.GOLD, entries(9))
    async with asyncio.timeout(SOON_S):
        assert dues(await node.wait({LANE: Want(3)})) == [9, 1, 2]
        assert dues(await node.wait({LANE: Want(3)})) == [3, 4]


async def test_a_wait_wakes_for_the_first_job(router: RouterLanes, node: NodeLanes) -> None:
    """Of any of its lanes and tiers."""
    for lane, tier in ((LANE, Tier.STANDARD), (OTHER, Tier.BATCH), (LANE, Tier.GOLD)):
        task = await waiting(node, {LANE: Want(2), OTHER: Want(2)})
        await router.push(lane, tier, entries(7))
        async with asyncio.timeout(SOON_S):
            assert await task == [Claimed(lane, tier, *entries(7))]


async def test_each_job_is_claimed_once(broker: Broker, router: RouterLanes) -> None:
    """However many nodes wait for them."""
    nodes = [await broker.node_lanes() for _ in range(3)]
    got: list[Claimed] = []

    async def claim_all(node: NodeLanes) -> None:
        while claimed := await node.wait({LANE: Want(4)}):
            got.extend(claimed)

    tasks = [asyncio.create_task(claim_all(node)) for node in nodes]
    pushed = entries(*range(200))
    for start in range(0, 200, 7):
        await router.push(LANE, Tier.STANDARD, pushed[start : start + 7])
    async with asyncio.timeout(SOON_S):
        while len(got) < 200:
            await asyncio.sleep(0.001)
    for node in nodes:
        await node.interrupt()
    await asyncio.wait(tasks, timeout=SOON_S)
    assert Counter(claim.entry for claim in got) == Counter(pushed)
    for node in nodes:
        node.close()


async def test_nobody_takes_more_than_is_wanted_of_each_lane(router: RouterLanes, node: NodeLanes) -> None:
    """A lane that is not wanted is left alone."""
    await router.push(LANE, Tier.STANDARD, entries(1, 2, 3))
    await router.push(OTHER, Tier.STANDARD, entries(4, 5, 6))
    claimed = await node.claim({LANE: Want(1), OTHER: Want(2)})
    assert sorted(dues(claimed)) == [1, 4, 5]
    assert dues(await node.claim({OTHER: Want(9)})) == [6]


async def test_an_interrupted_wait_gives_nothing(router: RouterLanes, node: NodeLanes) -> None:
    """And the next one works as ever."""
    task = await waiting(node, {LANE: Want(1)})
    await node.interrupt()
    async with asyncio.timeout(SOON_S):
        assert await task == []
        await router.push(LANE, Tier.STANDARD, entries(1))
        assert dues(await node.wait({LANE: Want(1)})) == [1]


async def test_an_interrupt_with_no_wait_under_way_changes_nothing(router: RouterLanes, node: NodeLanes) -> None:
    """The next wait is not ended by it."""
    await node.interrupt()
    task = await waiting(node, {LANE: Want(1)})
    await router.push(LANE, Tier.STANDARD, entries(1))
    async with asyncio.timeout(SOON_S):
        assert dues(await task) == [1]


async def test_an_interrupt_ends_a_wait_that_has_hardly_begun(node: NodeLanes) -> None:
    """It must not overtake the wait on its way: a node whose lanes have changed would stay on the old ones."""
    for _ in range(50):
        task = asyncio.create_task(node.wait({LANE: Want(1)}))
        await asyncio.sleep(0)
        await node.interrupt()
        async with asyncio.timeout(1.0):
            assert await task == []


async def test_one_nodes_interrupt_leaves_the_others_waiting(broker: Broker, router: RouterLanes) -> None:
    """Each node ends its own wait."""
    one, other = await broker.node_lanes(), await broker.node_lanes()
    tasks = [await waiting(node, {LANE: Want(1)}) for node in (one, other)]
    await one.interrupt()
    async with asyncio.timeout(SOON_S):
        assert await tasks[0] == []
        await asyncio.sleep(0.01)
        assert not tasks[1].done()
        await router.push(LANE, Tier.STANDARD, entries(1))
        assert dues(await tasks[1]) == [1]
    one.close()
    other.close()


async def test_an_interrupt_never_loses_a_job(router: RouterLanes, node: NodeLanes) -> None:
    """However closely it races with a push, the job is in the wait's answer or still in the lane."""
    found: list[float] = []
    for due in range(100):
        task = asyncio.create_task(node.wait({LANE: Want(3)}))
        await asyncio.sleep(0.0005 * (due % 3))
        pushed = router.push(LANE, Tier.STANDARD, entries(due))
        interrupted = asyncio.create_task(node.interrupt())
        async with asyncio.timeout(SOON_S):
            found += dues(await task)
            await asyncio.gather(pushed, interrupted)
    found += dues(await node.claim({LANE: Want(200)}))
    assert sorted(found) == list(range(100))


async def test_jobs_go_back_with_the_score_they_had(router: RouterLanes, node: NodeLanes) -> None:
    """Into the tier and lane they came from, as urgent as before."""
    await router.push(LANE, Tier.STANDARD, entries(1, 2, 3))
    await router.push(OTHER, Tier.GOLD, entries(4))
    await node.put_back(await node.claim({LANE: Want(2), OTHER: Want(1)}))
    assert await node.claim({OTHER: Want(1)}) == [Claimed(OTHER, Tier.GOLD, *entries(4))]
    assert dues(await node.claim({LANE: Want(9)})) == [1, 2, 3]


async def test_a_job_put_back_wakes_who_waits(broker: Broker, router: RouterLanes, node: NodeLanes) -> None:
    """Another node, perhaps, that has the link which the first one lacks."""
    await router.push(LANE, Tier.STANDARD, entries(1))
    claimed = await node.claim({LANE: Want(1)})
    other = await broker.node_lanes()
    task = await waiting(other, {LANE: Want(1)})
    await node.put_back(claimed)
    async with asyncio.timeout(SOON_S):
        assert await task == claimed
    other.close()


async def test_jobs_can_be_taken_out_again(router: RouterLanes, node: NodeLanes) -> None:
    """Those still there, and their number is told."""
    pushed = entries(1, 2, 3)
    await router.push(LANE, Tier.STANDARD, pushed)
    await node.claim({LANE: Want(1)})
    assert await router.remove(LANE, Tier.STANDARD, [pushed[0].member, pushed[2].member]) == 1
    assert await router.remove(LANE, Tier.STANDARD, [pushed[2].member]) == 0
    assert await router.remove(OTHER, Tier.STANDARD, [pushed[1].member]) == 0
    assert dues(await node.claim({LANE: Want(9)})) == [2]


async def test_it_tells_which_jobs_still_wait(router: RouterLanes, node: NodeLanes) -> None:
    """One answer for each that was asked for, in that order."""
    pushed = entries(1, 2, 3)
    await router.push(LANE, Tier.STANDARD, pushed)
    await node.claim({LANE: Want(1)})
    members = [pushed[2].member, pushed[0].member, b"never pushed", pushed[1].member]
    assert await router.present(LANE, Tier.STANDARD, members) == [True, False, False, True]
    assert await router.present(LANE, Tier.GOLD, members) == [False] * 4


async def test_the_same_job_pushed_twice_waits_once(router: RouterLanes, node: NodeLanes) -> None:
    """With its new score."""
    await router.push(LANE, Tier.STANDARD, [Entry(5, b"job"), Entry(4, b"other")])
    assert await router.push(LANE, Tier.STANDARD, [Entry(3, b"job")]) == 2
    assert [claim.entry for claim in await node.claim({LANE: Want(9)})] == [Entry(3, b"job"), Entry(4, b"other")]


async def test_the_lanes_clock_goes_forward(router: RouterLanes) -> None:
    """The origin that all routers' scores share; Redis' is a wall clock, and only orders."""
    before, after = await router.ping(), await router.ping()
    assert before <= after < before + SOON_S


@pytest.mark.parametrize(
    "work",
    [
        lambda router: router.push(LANE, Tier.STANDARD, entries(1)),
        lambda router: router.remove(LANE, Tier.STANDARD, [b"job"]),
        lambda router: router.present(LANE, Tier.STANDARD, [b"job"]),
        lambda router: router.count(LANE, Tier.STANDARD),
        lambda router: router.ping(),
    ],
    ids=["push", "remove", "present", "count", "ping"],
)
async def test_a_routers_lost_connection_is_told(
    router: RouterLanes, work: Callable[[RouterLanes], asyncio.Future[object]]
) -> None:
    """By `lost`, and by every later operation."""
    assert not router.lost.done()
    router.close()
    async with asyncio.timeout(SOON_S):
        await router.lost
        with pytest.raises(LaneUnavailable):
            await work(router)


async def test_a_nodes_lost_connection_ends_its_wait(node: NodeLanes) -> None:
    """And is told by every later operation."""
    task = await waiting(node, {LANE: Want(1)})
    node.close()
    async with asyncio.timeout(SOON_S):
        with pytest.raises(LaneUnavailable):
            await task
        await node.lost
        for work in (
            node.wait({LANE: Want(1)}),
            node.claim({LANE: Want(1)}),
            node.put_back([Claimed(LANE, Tier.GOLD, *entries(1))]),
        ):
            with pytest.raises(LaneUnavailable):
                await work


# What only one of the two has.


async def test_lanes_that_are_away_let_nobody_in() -> None:
    """Memory's are lost as a Redis is that is killed: every connection ends, and nothing waits when they are back."""
    broker = MemoryBroker(clock=asyncio.get_running_loop().time)
    router, node = await broker.router_lanes(), await broker.node_lanes()
    await router.push(LANE, Tier.STANDARD, entries(1))
    broker.lose()
    assert router.lost.done()
    assert node.lost.done()
    with pytest.raises(LaneUnavailable):
        await broker.router_lanes()
    with pytest.raises(LaneUnavailable):
        await broker.node_lanes()
    broker.restore()
    assert await (await broker.router_lanes()).count(LANE, Tier.STANDARD) == 0


async def test_every_key_has_a_time_to_live(redis: Redis, redis_address: RedisAddress) -> None:
    """From the last push or return on; so a mesh that was switched off leaves nothing behind."""
    broker = RedisBroker(redis_address, Keys("unit"))
    router, node = await broker.router_lanes(), await broker.node_lanes()
    for tier in Tier:
        await router.push(LANE, tier, entries(1, 2))
    claimed = await node.claim({LANE: Want(1)})
    redis.pexpire(Keys("unit").lane(LANE, Tier.GOLD), 1000)
    await node.put_back(claimed)
    keys = redis.keys("*")
    assert len(keys) == len(Tier)
    assert all(LANE_TTL_MS - 5000 < redis.pttl(key) <= LANE_TTL_MS for key in keys)
    router.close()
    node.close()


async def test_a_full_redis_refuses_and_the_connection_lives(redis: Redis, redis_address: RedisAddress) -> None:
    """Out of memory is told as an error of that push; reading and claiming go on."""
    router = await RedisRouterLanes.open(redis_address, Keys("unit"))
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(LaneUnavailable, match="OOM"):
            await router.push(LANE, Tier.STANDARD, entries(1))
        assert await router.count(LANE, Tier.STANDARD) == 0
        assert not router.lost.done()
    finally:
        redis.config_set("maxmemory", "256mb")
    assert await router.push(LANE, Tier.STANDARD, entries(1)) == 1
    router.close()


async def test_nobody_at_the_address_is_lanes_out_of_reach() -> None:
    """Which may come; it is no mistake in the configuration."""
    address = RedisAddress.of(RedisConfig(url="unix:///nowhere/redis.sock"))
    with pytest.raises(LaneUnavailable, match="nowhere"):
        await RedisRouterLanes.open(address, Keys("unit"))
    with pytest.raises(LaneUnavailable, match="nowhere"):
        await RedisNodeLanes.open(address, Keys("unit"))


async def test_a_user_without_permission_is_a_mistake_in_the_configuration(
    redis: Redis, redis_address: RedisAddress
) -> None:
    """Told by name when a node opens its lanes, with no connection left open."""
    redis.acl_setuser("poor", enabled=True, passwords=["+secret"], keys=["*"], commands=["+auth", "+ping"])
    before = len(redis.client_list())
    address = RedisAddress(path=redis_address.path, username="poor", password="secret")
    try:
        with pytest.raises(ConfigError, match="NOPERM"):
            await RedisNodeLanes.open(address, Keys("unit"))
        async with asyncio.timeout(SOON_S):
            while len(redis.client_list()) > before:
                await asyncio.sleep(0.01)
    finally:
        redis.acl_deluser("poor")
