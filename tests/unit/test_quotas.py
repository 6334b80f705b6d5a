"""Quotas that routers share: the arithmetic, the same in memory and in Redis, and what it can never give away."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from isochrone.broker import Broker
from isochrone.deadline import monotonic
from isochrone.keys import BUCKET_TTL_MS, SLOTS_TTL_MS, Keys
from isochrone.memory_quotas import MemoryQuotas
from isochrone.quotas import Ask, Bucket, Quotas, QuotasUnavailable, Slots, Told
from isochrone.redis_quotas import RedisQuotas
from isochrone.resp import RedisAddress

TTL_S = SLOTS_TTL_MS / 1e3
RATES = st.floats(0.01, 1000)
KEYS = Keys("unit")
_names = itertools.count(1)


@given(
    RATES,
    st.integers(1, 50),
    st.lists(st.tuples(st.floats(-5, 5), st.integers(0, 30), st.booleans()), min_size=1, max_size=60),
)
def test_no_more_leaves_a_bucket_than_was_in_it_and_came_in(
    rate: float, burst: int, turns: list[tuple[float, int, bool]]
) -> None:
    """Leased and owed, less what is given back: at most the burst and what the time gave, however the clock is set;
    and nothing is granted while something is owed."""
    bucket = Bucket(burst, 0.0)
    now_s = forward_s = 0.0
    held = owed = taken = 0
    for step_s, want, is_debt in turns:
        now_s += step_s
        forward_s += max(0.0, step_s)
        give_back, held = held // 2, held - held // 2
        debt = want if is_debt else 0
        granted = bucket.settle(Ask("one", rate, burst, debt, give_back, 0 if is_debt else want), now_s)
        assert 0 <= granted <= want
        assert bucket.level <= burst
        assert not granted or bucket.level >= 0
        held += granted
        owed += debt
        taken += granted - give_back
        # What is owed is no grant: whoever owes has bounded it.
        assert taken + owed <= burst + rate * forward_s + 1e-6 - min(0.0, bucket.level)


@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 12), st.floats(0, 2)), min_size=1, max_size=60),
)
def test_no_more_slots_are_held_than_there_are(limit: int, turns: list[tuple[int, int, float]]) -> None:
    """By whoever uses no more than it was given; those that are silent for long lose theirs."""
    slots = Slots()
    now_s = 0.0
    for boot, wanted, step_s in turns:
        now_s += step_s
        held, free = slots.settle(boot, Ask("one", limit=limit, slots=wanted), now_s, ttl_s=TTL_S)
        together = sum(holding.held for holding in slots.holdings.values())
        assert held <= wanted
        assert together <= limit
        assert free == limit - together
        assert all(now_s < holding.until_s for holding in slots.holdings.values())


@given(st.integers(2, 5), st.integers(1, 40))
def test_slots_come_round(routers: int, limit: int) -> None:
    """Where one router has all of them and others want some, each has an even share once they have all asked twice."""
    slots = Slots()
    asks = Ask("one", limit=limit, slots=limit)
    assert slots.settle(0, asks, 0.0, ttl_s=TTL_S) == (limit, 0)
    for _ in range(2):
        for boot in reversed(range(routers)):
            slots.settle(boot, asks, 0.1, ttl_s=TTL_S)
    assert all(slots.holdings[boot].held >= limit // routers for boot in range(routers))


def test_what_is_in_use_stays_in_use() -> None:
    """A router that was taken for dead comes back with its requests: there are too many for as long as they last, and
    no more are begun."""
    slots = Slots()
    assert slots.settle(1, Ask("one", limit=3, in_use=2, slots=3), 0.0, ttl_s=TTL_S) == (3, 0)
    assert slots.settle(2, Ask("one", limit=3, slots=3), TTL_S, ttl_s=TTL_S) == (3, 0)
    assert slots.settle(1, Ask("one", limit=3, in_use=2, slots=3), TTL_S, ttl_s=TTL_S) == (0, 0)
    assert slots.settle(2, Ask("one", limit=3, slots=3), TTL_S, ttl_s=TTL_S) == (1, 0)


def test_a_clock_that_is_set_back_leaves_no_slots_behind() -> None:
    """Those held until some far away moment are forgotten."""
    slots = Slots()
    slots.settle(1, Ask("one", limit=3, slots=3), 3600.0, ttl_s=TTL_S)
    assert slots.settle(2, Ask("one", limit=3, slots=3), 0.0, ttl_s=TTL_S) == (3, 0)


# Both kinds.


@pytest.fixture
async def quotas(broker: Broker) -> Quotas:
    return broker.quotas()


async def test_routers_share_a_bucket(quotas: Quotas) -> None:
    """What one has leased another can't have, and what it gives back it can."""
    ask = Ask("shop", rate_per_s=1e-3, burst=10)
    assert await quotas.settle(1, [ask._replace(want=6)]) == [Told(6, pytest.approx(4, abs=0.01))]
    assert (await quotas.settle(2, [ask._replace(want=6)]))[0].granted == 4
    assert (await quotas.settle(2, [ask._replace(want=6)]))[0].granted == 0
    await quotas.settle(1, [ask._replace(give_back=3)])
    assert (await quotas.settle(2, [ask._replace(want=6)]))[0].granted == 3
    await quotas.close()


async def test_debts_are_paid_first(quotas: Quotas) -> None:
    """A level below nothing grants nothing."""
    ask = Ask("shop", rate_per_s=1e-3, burst=5)
    [told] = await quotas.settle(1, [ask._replace(debt=7, want=3)])
    assert told == Told(0, pytest.approx(-2, abs=0.01))
    await quotas.close()


async def test_a_bucket_fills_with_time(quotas: Quotas) -> None:
    """By its rate, up to its burst."""
    ask = Ask("shop", rate_per_s=200, burst=4)
    before_s = monotonic()
    taken = (await quotas.settle(1, [ask._replace(want=4)]))[0].granted
    while taken < 12:
        await asyncio.sleep(0.005)
        taken += (await quotas.settle(1, [ask._replace(want=4)]))[0].granted
    assert taken <= 4 + 200 * (monotonic() - before_s) + 1e-6
    await quotas.close()


async def test_a_round_trip_settles_many_callers(quotas: Quotas) -> None:
    """With a rate, a limit, both or neither; in their order."""
    told = await quotas.settle(
        1,
        [
            Ask("rate", rate_per_s=1e-3, burst=2, want=1),
            Ask("slots", limit=5, in_use=1, slots=2),
            Ask("both", rate_per_s=1e-3, burst=3, want=9, limit=1, slots=1),
            Ask("neither"),
        ],
    )
    assert [(one.granted, round(one.level, 1), one.slots, one.free) for one in told] == [
        *[(1, 1.0, 0, 0), (0, 0.0, 2, 3), (3, 0.0, 1, 0), (0, 0.0, 0, 0)]
    ]
    await quotas.close()


async def test_other_limits_hold_at_once(quotas: Quotas) -> None:
    """Whoever asks says what they are."""
    await quotas.settle(1, [Ask("shop", rate_per_s=1e-3, burst=100)])
    [told] = await quotas.settle(1, [Ask("shop", rate_per_s=1e-3, burst=3, want=50)])
    assert told.granted == 3
    await quotas.close()


# Redis' own.


@pytest.fixture
def in_redis(redis_address: RedisAddress) -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


bucket_asks = st.builds(
    Ask,
    st.just("shop"),
    rate_per_s=st.just(1e-9),
    burst=st.integers(1, 30),
    debt=st.integers(0, 5),
    give_back=st.integers(0, 5),
    want=st.integers(0, 20),
    limit=st.integers(0, 20),
    in_use=st.integers(0, 3),
    slots=st.integers(0, 12),
)


@given(st.lists(st.tuples(st.integers(1, 4), bucket_asks), min_size=1, max_size=12))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_does_what_python_does(
    in_redis: asyncio.Runner, redis_address: RedisAddress, turns: list[tuple[int, Ask]]
) -> None:
    """Turn for turn, whatever is asked, in an instant too short for time to matter."""
    caller = f"caller-{next(_names)}"

    async def both() -> None:
        theirs, ours = RedisQuotas(redis_address, KEYS), MemoryQuotas(lambda: 0.0)
        for boot, ask in turns:
            ask = ask._replace(caller=caller)
            [told] = await theirs.settle(boot, [ask])
            [meant] = await ours.settle(boot, [ask])
            assert (told.granted, told.slots, told.free) == (meant.granted, meant.slots, meant.free)
            assert told.level == pytest.approx(meant.level, abs=0.002)
        await theirs.close()

    in_redis.run(both())


async def test_quotas_leave_nothing_for_ever(redis: Redis, redis_address: RedisAddress) -> None:
    """A bucket is kept until it is full again, slots until they would have been renewed; released ones are gone."""
    quotas = RedisQuotas(redis_address, KEYS)
    await quotas.settle(1, [Ask("shop", rate_per_s=1, burst=600, debt=600, limit=2, slots=1)])
    assert 600_000 < redis.pttl(KEYS.bucket("shop")) <= 601_000
    assert 0 < redis.pttl(KEYS.slots("shop")) <= SLOTS_TTL_MS
    await quotas.settle(1, [Ask("quick", rate_per_s=1e6, burst=1, want=1)])
    assert BUCKET_TTL_MS - 5_000 < redis.pttl(KEYS.bucket("quick")) <= BUCKET_TTL_MS
    await quotas.settle(1, [Ask("slow", rate_per_s=1e-6, burst=10_000_000, debt=1_000_000)])
    assert redis.pttl(KEYS.bucket("slow")) <= 30 * 86_400_000
    await quotas.settle(1, [Ask("shop", limit=2)])
    assert not redis.exists(KEYS.slots("shop"))
    await quotas.close()


async def test_the_script_is_sent_once(redis: Redis, redis_address: RedisAddress) -> None:
    """And again to a Redis that doesn't know it: after a restart, say."""
    quotas = RedisQuotas(redis_address, KEYS)
    redis.script_flush()
    redis.config_resetstat()
    for _ in range(3):
        await quotas.settle(1, [Ask("shop", rate_per_s=1, burst=5, want=1)])
    stats = redis.info("commandstats")
    assert (stats["cmdstat_eval"]["calls"], stats["cmdstat_evalsha"]["calls"]) == (1, 3)
    await quotas.close()


async def test_quotas_that_are_away_say_so() -> None:
    """Whatever the reason; nothing else is raised."""
    nowhere = RedisQuotas(RedisAddress(path="/nowhere"), KEYS)
    with pytest.raises(QuotasUnavailable):
        await nowhere.settle(1, [Ask("shop", rate_per_s=1, want=1)])
    await nowhere.close()
    quotas = MemoryQuotas(monotonic)
    quotas.lose()
    with pytest.raises(QuotasUnavailable):
        await quotas.settle(1, [])
