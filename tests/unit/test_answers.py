"""Last good answers: under what they are kept, in Redis and in a process, and for how long."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from isochrone.answers import DIGEST_BYTES, digest_of, packed, unpacked
from isochrone.config import CacheConfig, RedisConfig
from isochrone.embedded import EmbeddedRedis
from isochrone.keys import Keys
from isochrone.redis_answers import MOST_BYTES, MOST_LOOKS, RedisAnswers
from isochrone.resp import RedisAddress
from isochrone_router.answer_cache import AnswerCache

KEYS = Keys("unit")
DIGEST = digest_of("a.B/C", variant="", caller="", request=b"request")
parts = st.tuples(st.text(max_size=5), st.text(max_size=5), st.text(max_size=5), st.binary(max_size=8))


@given(parts, parts)
def test_two_requests_share_no_key(one: tuple[str, str, str, bytes], other: tuple[str, str, str, bytes]) -> None:
    """Route, variant, caller and request are told apart, wherever one ends and the next begins."""

    def digest(of: tuple[str, str, str, bytes]) -> bytes:
        route, variant, caller, request = of
        return digest_of(route, variant=variant, caller=caller, request=request)

    assert (digest(one) == digest(other)) == (one == other)
    assert len(digest(one)) == DIGEST_BYTES


def test_a_callers_answer_is_nobody_elses() -> None:
    """Though they ask for the same."""
    assert digest_of("r", variant="", caller="shop", request=b"1") != digest_of(
        "r", variant="", caller="app", request=b"1"
    )
    assert digest_of("r", variant="", caller="a", request=b"b") != digest_of("r", variant="a", caller="", request=b"b")


@given(st.binary(max_size=100), st.integers(1, 10**9), st.integers(0, 10**9))
def test_an_envelope_tells_its_answers_age(payload: bytes, ttl_ms: int, gone_ms: int) -> None:
    """What it was given to live, less what is left of that; never less than nothing."""
    kept = unpacked(packed(payload, ttl_ms=ttl_ms), left_ms=max(0, ttl_ms - gone_ms))
    assert kept is not None
    assert kept.payload == payload
    assert kept.age_s == pytest.approx(min(ttl_ms, gone_ms) / 1e3)


@pytest.mark.parametrize("value", [b"", b"\x01\x00", b"\x02" + bytes(20)], ids=["nothing", "cut off", "newer"])
def test_an_envelope_that_is_not_understood_holds_nothing(value: bytes) -> None:
    """What another version, or somebody else, has put there."""
    assert unpacked(value, left_ms=10) is None


# In Redis.


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.001)


@pytest.fixture
async def answers(redis_address: RedisAddress) -> AsyncIterator[RedisAnswers]:
    store = RedisAnswers(redis_address, KEYS)
    running = asyncio.create_task(store.run())
    await until(lambda: store.is_up)
    yield store
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    store.close()


async def test_redis_keeps_an_answer_for_its_time(answers: RedisAnswers, redis: Redis) -> None:
    """With its age by Redis' own count, and no longer."""
    assert await answers.get(DIGEST) is None
    answers.put(DIGEST, b"answer", ttl_s=300)
    await until(lambda: answers.written == 1)
    key = KEYS.answer(DIGEST)
    assert 299_000 < int(redis.pttl(key)) <= 300_000  # type: ignore[arg-type]
    redis.pexpire(key, 180_000)
    kept = await answers.get(DIGEST)
    assert kept is not None
    assert kept.payload == b"answer"
    assert kept.age_s == pytest.approx(120, abs=1)
    redis.pexpire(key, 0)
    assert await answers.get(DIGEST) is None


async def test_what_is_no_answer_is_none(answers: RedisAnswers, redis: Redis) -> None:
    """A value of another type or form, or one that would never expire."""
    redis.lpush(KEYS.answer(DIGEST), "x")
    redis.expire(KEYS.answer(DIGEST), 10)
    assert await answers.get(DIGEST) is None
    redis.set(KEYS.answer(DIGEST), "x", ex=10)
    assert await answers.get(DIGEST) is None


async def test_a_redis_that_refuses_costs_nobody_anything(
    answers: RedisAnswers, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said once."""
    redis.config_set("maxmemory", "1")
    try:
        for number in range(2):
            answers.put(DIGEST, b"answer", ttl_s=300)
            await until(lambda number=number: answers.forgotten == number + 1)  # type: ignore[misc]
        assert [record.message for record in caplog.records if "refuses" in record.message] == [
            "the cache of last good answers refuses them: OOM command not allowed when used memory > 'maxmemory'."
        ]
    finally:
        redis.config_set("maxmemory", "0")


async def test_a_redis_that_is_stopped_soon_takes_nothing_more(
    answers: RedisAnswers, redis_process: EmbeddedRedis
) -> None:
    """Looks are left by who waits for them, and then find nothing at once; answers are forgotten past a bound."""
    redis_process.child.send(signal.SIGSTOP)
    try:
        looks = [asyncio.create_task(answers.get(DIGEST)) for _ in range(MOST_LOOKS)]
        await asyncio.sleep(0)
        assert await answers.get(DIGEST) is None
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)
        assert await answers.get(DIGEST) is None  # what was asked is still to be answered
        for _ in range(10):
            answers.put(DIGEST, bytes(MOST_BYTES // 8), ttl_s=300)
        assert answers.forgotten == 2
    finally:
        redis_process.child.send(signal.SIGCONT)
    await until(lambda: answers.written == 8)
    assert await answers.get(DIGEST) is not None


async def test_it_connects_again() -> None:
    """A Redis that dies and comes back, empty, is used again; meanwhile there are no answers."""
    async with EmbeddedRedis(name="cache", is_cache=True) as redis:
        store = RedisAnswers(RedisAddress.of(RedisConfig(url=redis.url)), KEYS)
        running = asyncio.create_task(store.run())
        await until(lambda: store.is_up)
        store.put(DIGEST, b"answer", ttl_s=300)
        await until(lambda: store.written == 1)
        await redis.kill()
        await until(lambda: not store.is_up)
        assert await store.get(DIGEST) is None
        store.put(DIGEST, b"answer", ttl_s=300)
        assert store.forgotten == 1
        assert "away, 1 written, 1 forgotten" in repr(store)
        await redis.start()
        await until(lambda: store.is_up)
        assert await store.get(DIGEST) is None
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        store.close()


# In a process.


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def cache(**config: int) -> tuple[AnswerCache, Clock]:
    clock = Clock()
    return AnswerCache(CacheConfig(**config), store=None, clock=clock), clock  # type: ignore[arg-type]


def digest(number: int) -> bytes:
    return digest_of("r", variant="", caller="", request=str(number).encode())


def test_a_process_keeps_what_was_used_last() -> None:
    """Within its bytes."""
    kept, _ = cache(memory_bytes=3 * 1300)
    for number in range(3):
        kept.remember(digest(number), bytes(1000), ttl_s=300)
    kept.recall(digest(0), ttl_s=300)
    kept.remember(digest(3), bytes(1000), ttl_s=300)
    assert [kept.recall(digest(number), ttl_s=300) is not None for number in range(4)] == [True, False, True, True]
    assert repr(kept) == "<AnswerCache 3 answers, 3900 bytes, in memory alone>"


def test_an_answer_too_large_is_not_kept() -> None:
    """Past `answer_bytes`."""
    kept, _ = cache(answer_bytes=10)
    kept.remember(digest(0), bytes(11), ttl_s=300)
    assert kept.recall(digest(0), ttl_s=300) is None


def test_a_process_tells_ages_by_its_own_clock() -> None:
    """An answer is replaced once a second, and gone past its time."""
    kept, clock = cache()
    kept.remember(digest(0), b"first", ttl_s=10)
    clock.now_s += 0.9
    kept.remember(digest(0), b"second", ttl_s=10)
    found = kept.recall(digest(0), ttl_s=10)
    assert found is not None
    assert (found.payload, found.age_s) == (b"first", pytest.approx(0.9))
    clock.now_s += 0.1
    kept.remember(digest(0), b"third", ttl_s=10)
    found = kept.recall(digest(0), ttl_s=10)
    assert found is not None
    assert (found.payload, found.age_s) == (b"third", 0)
    clock.now_s += 10.1
    assert kept.recall(digest(0), ttl_s=10) is None
    assert "0 answers, 0 bytes" in repr(kept)
