"""Quotas in Redis: one script settles all that a router has to say of its callers, in a step and a round trip."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from isochrone.keys import BUCKET_TTL_MS, SLOTS_TTL_MS, Keys
from isochrone.quotas import Ask, QuotasUnavailable, Told
from isochrone.redis_registry import pool
from isochrone.resp import RedisAddress

ANSWER_S = 0.25
"""How long is waited for Redis: meanwhile routers go by what they have."""

# `isochrone.quotas` says what it does and why, in Bucket.settle and Slots.settle. Time is Redis' own.
# KEYS: of each caller its bucket and its slots. ARGV: our boot id, how long slots are held, the least time that a
# bucket is kept; then of each caller rate, burst, debt, give_back, want, limit, in_use, slots; "" for what it hasn't.
# A bucket is its level and when it was that, in µs; slots are a hash of boot id to held, wanted, until when in ms.
# Numbers with fractions are told in thousandths: Redis cuts them off. No bucket is kept for more than 30 days.
SCRIPT = """
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local boot, ttl_ms, least_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local told = {}

local function bucket(key, rate, burst, debt, give_back, want)
  local level = burst
  local kept = redis.call('GET', key)
  if kept then
    local before, at_us = string.match(kept, '^(%S+) (%S+)$')
    level = math.min(burst, before + math.max(0, now_us - at_us) * rate / 1000000)
  end
  level = math.min(burst, level + give_back) - debt
  local granted = math.max(0, math.min(want, math.floor(level)))
  level = level - granted
  local until_full_ms = math.ceil((burst - level) / rate * 1000)
  redis.call('SET', key, string.format('%.6f %.0f', level, now_us), 'PX',
    string.format('%.0f', math.min(2592000000, math.max(least_ms, until_full_ms + 1000))))
  return granted, math.floor(level * 1000)
end

local function slots(key, limit, in_use, wanted)
  local all = redis.call('HGETALL', key)
  local others, taken, wanting = {}, 0, 0
  if wanted > 0 then wanting = 1 end
  for i = 1, #all, 2 do
    local held, needed, until_ms = string.match(all[i + 1], '^(%d+) (%d+) (%d+)$')
    held, needed, until_ms = tonumber(held), tonumber(needed), tonumber(until_ms)
    if until_ms <= now_ms or until_ms > now_ms + ttl_ms then
      redis.call('HDEL', key, all[i])
    elseif all[i] ~= boot then
      taken = taken + held
      if needed > 0 then wanting = wanting + 1 end
      others[#others + 1] = { held, needed }
    end
  end
  local even = math.max(1, math.floor(limit / math.max(1, wanting)))
  local most = limit - taken
  for _, other in ipairs(others) do
    if other[1] < math.min(other[2], even) then most = math.min(most, even) end
  end
  local given = math.max(0, math.min(wanted, most))
  local held = math.max(in_use, given)
  if held > 0 or wanted > 0 then
    redis.call('HSET', key, boot, string.format('%d %d %.0f', held, wanted, now_ms + ttl_ms))
    redis.call('PEXPIRE', key, ttl_ms)
  else
    redis.call('HDEL', key, boot)
  end
  return given, math.max(0, limit - taken - held)
end

for i = 1, #KEYS / 2 do
  local a = {}
  for j = 1, 8 do a[j] = tonumber(ARGV[3 + (i - 1) * 8 + j]) or false end
  local granted, level, given, free = 0, 0, 0, 0
  if a[1] then granted, level = bucket(KEYS[2 * i - 1], a[1], a[2], a[3], a[4], a[5]) end
  if a[6] then given, free = slots(KEYS[2 * i], a[6], a[7], a[8]) end
  for _, one in ipairs({ granted, level, given, free }) do told[#told + 1] = one end
end
return told
"""
_SHA = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()


class RedisQuotas:
    """Quotas for processes that share a Redis."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self._keys = keys
        self._redis: Any = Redis.from_pool(pool(address, timeout_s=ANSWER_S))

    async def settle(self, boot: int, asks: Sequence[Ask]) -> Sequence[Told]:
        keys = [key for ask in asks for key in (self._keys.bucket(ask.caller), self._keys.slots(ask.caller))]
        said: list[str | int | float] = [f"{boot:016x}", SLOTS_TTL_MS, BUCKET_TTL_MS]
        for _, rate_per_s, burst, debt, give_back, want, limit, in_use, slots in asks:
            said += ("" if rate_per_s is None else rate_per_s, burst, debt, give_back, want)
            said += ("" if limit is None else limit, in_use, slots)
        try:
            told = await self._run(keys, said)
        except (RedisError, OSError) as error:
            raise QuotasUnavailable(str(error)) from error
        return [
            Told(granted, level / 1e3, held, free)
            for granted, level, held, free in zip(told[::4], told[1::4], told[2::4], told[3::4], strict=True)
        ]

    async def close(self) -> None:
        await self._redis.aclose()

    async def _run(self, keys: list[str], said: list[str | int | float]) -> list[int]:
        try:
            return list(await self._redis.evalsha(_SHA, len(keys), *keys, *said))
        except NoScriptError:  # a Redis that has just started, or has never seen it
            return list(await self._redis.eval(SCRIPT, len(keys), *keys, *said))
