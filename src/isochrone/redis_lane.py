"""Lanes in Redis: a sorted set per lane and tier, on pipelined connections.

Each transition is one atomic step: a push is MULTI ZADD PEXPIRE ZCARD EXEC, a claim is BZPOPMIN or ZPOPMIN, a
removal is ZREM. Redis 6.2 is enough.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TypeVar

from isochrone.errors import ConfigError
from isochrone.keys import LANE_TTL_MS, TIERS, Keys, Queue, Tier
from isochrone.lane import Claimed, Entry, LaneUnavailable, Wants
from isochrone.resp import Command, RedisAddress, RedisLost, RedisRefused, RespConnection, refuse_errors

_T = TypeVar("_T")

CONNECT_TIMEOUT_S = 2.0


class RedisRouterLanes:
    """RouterLanes on one connection. Opened anew by its owner when it is lost."""

    def __init__(self, connection: RespConnection, keys: Keys) -> None:
        self._connection = connection
        self._keys = keys
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, address: RedisAddress, keys: Keys) -> RedisRouterLanes:
        return cls(await _connected(address), keys)

    @property
    def lost(self) -> asyncio.Future[None]:
        return self._connection.lost

    def close(self) -> None:
        self._connection.close()

    def push(self, lane: str, tier: Tier, entries: Sequence[Entry]) -> asyncio.Future[int]:
        key = self._keys.lane(lane, tier)
        members: list[str | bytes | float] = []
        for due, member in entries:
            members += (due, member)
        return self._call(
            _pushed,
            ("MULTI",),
            ("ZADD", key, *members),
            ("PEXPIRE", key, LANE_TTL_MS),
            ("ZCARD", key),
            ("EXEC",),
        )

    def remove(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[int]:
        return self._call(lambda replies: int(replies[0]), ("ZREM", self._keys.lane(lane, tier), *members))

    def present(self, lane: str, tier: Tier, members: Sequence[bytes]) -> asyncio.Future[list[bool]]:
        key = self._keys.lane(lane, tier)
        return self._call(lambda replies: [score is not None for score in replies[0]], ("ZMSCORE", key, *members))

    def count(self, lane: str, tier: Tier) -> asyncio.Future[int]:
        return self._call(lambda replies: int(replies[0]), ("ZCARD", self._keys.lane(lane, tier)))

    def ping(self) -> asyncio.Future[float]:
        """Redis' own clock, in seconds: the origin that all routers' scores share."""
        return self._call(lambda replies: int(replies[0][0]) + int(replies[0][1]) / 1e6, ("TIME",))

    def _call(self, read: Callable[[list[Any]], _T], *commands: Command) -> asyncio.Future[_T]:
        """Sends now; the answer is read when it comes. Never awaits, so that callers keep their order."""
        answer: asyncio.Future[_T] = self._loop.create_future()

        def arrived(sent: asyncio.Future[list[Any]]) -> None:
            if answer.done():
                return
            try:
                answer.set_result(read(refuse_errors(sent.result())))
            except (RedisLost, RedisRefused) as error:
                answer.set_exception(LaneUnavailable(str(error)))
                answer.exception()  # read by whoever still waits, and nobody need

        self._connection.send(*commands).add_done_callback(arrived)
        return answer


class RedisNodeLanes:
    """NodeLanes on two connections: one that blocks for the first job, one that never does."""

    def __init__(self, waiting: RespConnection, prompt: RespConnection, keys: Keys, *, waiting_id: int) -> None:
        self._waiting = waiting
        self._prompt = prompt
        self._keys = keys
        self._waiting_id = waiting_id
        self._blocked = False
        self.left: dict[Queue, int] = {}

    @classmethod
    async def open(cls, address: RedisAddress, keys: Keys) -> RedisNodeLanes:
        with ExitStack() as undo:
            waiting = await _connected(address)
            undo.callback(waiting.close)
            try:
                [waiting_id] = refuse_errors(await waiting.send(("CLIENT", "ID")))
            except RedisRefused as error:
                raise ConfigError(f"Redis at {address} refuses us: {error}") from error
            except RedisLost as error:
                raise LaneUnavailable(str(error)) from error
            prompt = await _connected(address)
            undo.pop_all()
        return cls(waiting, prompt, keys, waiting_id=waiting_id)

    @property
    def lost(self) -> asyncio.Future[None]:
        return self._waiting.lost

    def close(self) -> None:
        self._waiting.close()
        self._prompt.close()

    async def wait(self, wants: Wants) -> list[Claimed]:
        """One round trip even for a whole batch: while BZPOPMIN blocks, Redis keeps what was sent behind it
        for later, so the ZPOPMINs run the moment it wakes."""
        popping = self._popping(wants, but=1)
        keys = [self._keys.lane(*queue) for queue in _preferred(wants, all_tiers=True)]
        self._blocked = True
        try:
            commands: list[Command] = [("BZPOPMIN", *keys, 0), *popping.values(), *self._counting(wants)]
            first, *others = await self._ask(self._waiting, commands)
        finally:
            self._blocked = False
        claimed = [] if first is None else [self._claimed(first[0].decode(), first[2], first[1])]
        claimed += self._popped(popping, others[: len(popping)])
        self._count(wants, others[len(popping) :])
        return await self._no_more_than(wants, claimed)

    async def interrupt(self) -> None:
        while self._blocked:
            [ended] = await self._ask(self._prompt, [("CLIENT", "UNBLOCK", self._waiting_id)])
            if ended:
                return
            await asyncio.sleep(0.001)  # it came before the command that is to block: they go separate ways

    async def claim(self, wants: Wants) -> list[Claimed]:
        popping = self._popping(wants)
        replies = await self._ask(self._prompt, [*popping.values(), *self._counting(wants)])
        claimed = self._popped(popping, replies[: len(popping)])
        self._count(wants, replies[len(popping) :])
        return await self._no_more_than(wants, claimed)

    async def put_back(self, claimed: Sequence[Claimed]) -> None:
        commands: list[Command] = [("MULTI",)]
        for lane, tier, (due, member) in claimed:
            key = self._keys.lane(lane, tier)
            commands += [("ZADD", key, due, member), ("PEXPIRE", key, LANE_TTL_MS)]
        await self._ask(self._prompt, [*commands, ("EXEC",)])

    async def _no_more_than(self, wants: Wants, claimed: list[Claimed]) -> list[Claimed]:
        """What is wanted of a claim. A pop knows one tier, so several together may take too many: the last go back."""
        if len({claim.tier for claim in claimed}) < 2:
            return claimed
        left = Counter({lane: want.most for lane, want in wants.items()})
        surplus = []
        for claim in claimed:
            left[claim.lane] -= 1
            if left[claim.lane] < 0:
                surplus.append(claim)
        if surplus:
            self.left |= Counter(self.left) + Counter(Queue(claim.lane, claim.tier) for claim in surplus)
            await self.put_back(surplus)
        return [claim for claim in claimed if claim not in surplus]

    async def _ask(self, connection: RespConnection, commands: list[Command]) -> list[Any]:
        try:
            return refuse_errors(await connection.send(*commands))
        except (RedisLost, RedisRefused) as error:
            raise LaneUnavailable(str(error)) from error

    def _popping(self, wants: Wants, *, but: int = 0) -> dict[str, Command]:
        """A ZPOPMIN by key, in order of preference; of each tier `but` one or so less."""
        found = {queue: wants[queue.lane].by_tier[queue.tier] - but for queue in _preferred(wants)}
        keys = {self._keys.lane(*queue): most for queue, most in found.items() if most > 0}
        return {key: ("ZPOPMIN", key, most) for key, most in keys.items()}

    def _counting(self, wants: Wants) -> list[Command]:
        return [("ZCARD", self._keys.lane(lane, tier)) for lane in wants for tier in TIERS]

    def _count(self, wants: Wants, replies: Sequence[int]) -> None:
        queues = (Queue(lane, tier) for lane in wants for tier in TIERS)
        self.left.update(zip(queues, map(int, replies), strict=True))

    def _popped(self, popping: Mapping[str, Command], replies: Sequence[list[bytes]]) -> list[Claimed]:
        return [
            self._claimed(key, due, member)
            for key, flat in zip(popping, replies, strict=True)
            for member, due in zip(flat[::2], flat[1::2], strict=True)
        ]

    def _claimed(self, key: str, due: bytes, member: bytes) -> Claimed:
        return Claimed(self._keys.lane_of(key), Tier(key.rpartition(":")[2]), Entry(float(due), member))


async def _connected(address: RedisAddress) -> RespConnection:
    try:
        return await RespConnection.open(address, timeout_s=CONNECT_TIMEOUT_S)
    except RedisLost as error:
        raise LaneUnavailable(str(error)) from error


def _pushed(replies: list[Any]) -> int:
    """The reply to a push: how many jobs now wait."""
    return int(refuse_errors(replies[-1])[-1])


def _preferred(wants: Wants, *, all_tiers: bool = False) -> list[Queue]:
    """The queues to claim from: the most preferred of each lane, then the next. With the others behind, if asked."""
    orders = {lane: list(want.by_tier) for lane, want in wants.items()}
    if all_tiers:
        orders = {lane: [*order, *(tier for tier in TIERS if tier not in order)] for lane, order in orders.items()}
    return [Queue(lane, order[at]) for at in range(len(Tier)) for lane, order in orders.items() if at < len(order)]
