"""Last good answers in a Redis of their own, over one pipelined connection."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from isochrone.answers import Kept, packed, unpacked
from isochrone.errors import ConfigError
from isochrone.keys import Keys
from isochrone.resp import Command, RedisAddress, RedisLost, RedisRefused, RespConnection, refuse_errors

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 2.0
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 5.0
GATHER_S = 0.005
"""Answers wait so long for others to be written with them."""
MOST_LOOKS = 256
"""Looks that haven't been answered. Past them Redis is no help: the next find nothing, at once."""
MOST_BYTES = 8 * 2**20
"""Of answers that wait to be written or for Redis to say that they are. Past them the next are forgotten."""


class RedisAnswers:
    """AnswerStore. While there is no connection it has nothing and keeps nothing."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self._address = address
        self._keys = keys
        self._connection: RespConnection | None = None
        self._looks = 0
        self._waiting: list[Command] = []
        self._bytes = 0
        self._flushing: asyncio.TimerHandle | None = None
        self._refuses = False
        self.written = 0
        """Answers that Redis has taken."""
        self.forgotten = 0
        """Answers that it was not given, or has refused."""

    def __repr__(self) -> str:
        state = "connected" if self.is_up else "away"
        return f"<RedisAnswers {self._address} {state}, {self.written} written, {self.forgotten} forgotten>"

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    async def get(self, digest: bytes) -> Kept | None:
        """One round trip."""
        connection = self._connection
        if connection is None or self._looks >= MOST_LOOKS:
            return None
        key = self._keys.answer(digest)
        sent = connection.send(("MULTI",), ("GET", key), ("PTTL", key), ("EXEC",))
        self._looks += 1
        sent.add_done_callback(self._looked)
        try:
            replies = refuse_errors(await asyncio.shield(sent))  # who leaves doesn't take the count along
            value, left_ms = refuse_errors(replies[-1])
        except (RedisLost, RedisRefused):
            return None
        return None if value is None or left_ms < 0 else unpacked(value, left_ms=left_ms)

    def put(self, digest: bytes, payload: bytes, *, ttl_s: float) -> None:
        if self._connection is None or self._bytes + len(payload) > MOST_BYTES:
            self.forgotten += 1
            return
        ttl_ms = max(1, round(ttl_s * 1e3))
        self._waiting.append(("SET", self._keys.answer(digest), packed(payload, ttl_ms=ttl_ms), "PX", ttl_ms))
        self._bytes += len(payload)
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(GATHER_S, self._flush)

    async def run(self) -> None:
        """Connects, and again whenever the connection is lost, until cancelled."""
        retry_s = RETRY_FIRST_S
        told = False
        while True:
            try:
                self._connection = await RespConnection.open(self._address, timeout_s=CONNECT_TIMEOUT_S)
            except (RedisLost, ConfigError) as error:
                if not told:  # requests go on all the same, so once is enough
                    log.warning("last good answers are kept in this process alone: %s", error)
                    told = True
            else:
                if told:
                    log.info("last good answers are kept at %s again", self._address)
                told, retry_s = False, RETRY_FIRST_S
                await asyncio.shield(self._connection.lost)
                self._connection = None
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, RETRY_MOST_S)

    def close(self) -> None:
        """What was put is written first, if that takes no waiting."""
        self._flush()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _flush(self) -> None:
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        commands, self._waiting = self._waiting, []
        size = self._bytes_of(commands)
        if not commands:
            return
        if self._connection is None:
            self._bytes -= size
            self.forgotten += len(commands)
            return

        def wrote(sent: asyncio.Future[list[Any]]) -> None:
            self._bytes -= size
            if sent.exception() is not None:
                self.forgotten += len(commands)
                return
            refused = [reply for reply in sent.result() if isinstance(reply, Exception)]
            self.written += len(commands) - len(refused)
            self.forgotten += len(refused)
            if refused and not self._refuses:
                log.warning("the cache of last good answers refuses them: %s", refused[0])
            self._refuses = bool(refused)

        self._connection.send(*commands).add_done_callback(wrote)

    def _looked(self, sent: asyncio.Future[list[Any]]) -> None:
        self._looks -= 1
        sent.exception()  # whoever looked sees it, if it still waits

    @staticmethod
    def _bytes_of(commands: list[Command]) -> int:
        head = len(packed(b"", ttl_ms=0))
        return sum(len(value) - head for _, _, value, _, _ in commands if isinstance(value, bytes))
