"""The registry in Redis: records that expire unless they are renewed."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.exceptions import RedisError

from isochrone.keys import INDEX_TTL_MS, RECORD_TTL_MS, Keys
from isochrone.registry import Census, NodeRecord, RegistryUnavailable, RouterRecord, kind_of
from isochrone.resp import RedisAddress

ANSWER_S = 1.0


class RedisRegistry:
    """Registry for processes that share a Redis. Rare calls, so redis-py does them."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self._keys = keys
        self._redis = Redis.from_pool(pool(address, timeout_s=ANSWER_S))

    async def beat(self, record: RouterRecord | NodeRecord) -> Census:
        """One round trip for our record, and a second for everybody's."""
        kind = kind_of(record)
        key, index = self._keys.record(kind, record.boot), self._keys.index(kind)
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(key, record.model_dump_json(), px=RECORD_TTL_MS)
                pipe.sadd(index, f"{record.boot:016x}")
                pipe.pexpire(index, INDEX_TTL_MS)
                await pipe.execute()
            return await self.read()
        except (RedisError, OSError) as error:
            raise RegistryUnavailable(str(error)) from error

    async def read(self) -> Census:
        try:
            routers = await self._records("router", RouterRecord)
            nodes = await self._records("node", NodeRecord)
        except (RedisError, OSError) as error:
            raise RegistryUnavailable(str(error)) from error
        return Census(tuple(routers), tuple(nodes))

    async def leave(self, record: RouterRecord | NodeRecord) -> None:
        kind = kind_of(record)
        try:
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(self._keys.record(kind, record.boot))
                pipe.srem(self._keys.index(kind), f"{record.boot:016x}")
                await pipe.execute()
        except (RedisError, OSError) as error:
            raise RegistryUnavailable(str(error)) from error

    async def close(self) -> None:
        await self._redis.aclose()

    async def _records(self, kind: str, of: type[Any]) -> list[Any]:
        index = self._keys.index(kind)
        boots = sorted(await self._redis.smembers(index))
        if not boots:
            return []
        found = await self._redis.mget([self._keys.record(kind, int(boot, 16)) for boot in boots])
        records: list[Any] = []
        for boot, text in zip(boots, found, strict=True):
            if text is None:  # expired, or was never renewed: forget the name as well
                await self._redis.srem(index, boot)
                continue
            try:
                records.append(of.model_validate_json(text))
            except ValidationError:
                continue  # written by a version that we do not understand: as if not there
        return records


def pool(address: RedisAddress, *, timeout_s: float) -> ConnectionPool:
    """Connections for rare calls, each given up after that long."""
    common: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "decode_responses": True,
        "max_connections": 2,
    }
    if address.path:
        return ConnectionPool(connection_class=UnixDomainSocketConnection, path=address.path, **common)
    common |= {"host": address.host, "port": address.port}
    if address.tls:
        ca_file = str(address.ca_file) if address.ca_file else None
        return ConnectionPool(connection_class=SSLConnection, ssl_ca_certs=ca_file, **common)
    return ConnectionPool(connection_class=Connection, **common)
