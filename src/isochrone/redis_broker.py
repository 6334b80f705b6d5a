"""Redis as the place where the processes of a mesh meet."""

from __future__ import annotations

from isochrone.config import RedisConfig
from isochrone.keys import Keys
from isochrone.redis_lane import RedisNodeLanes, RedisRouterLanes
from isochrone.redis_quotas import RedisQuotas
from isochrone.redis_registry import RedisRegistry
from isochrone.resp import RedisAddress


class RedisBroker:
    """Broker for processes that share a Redis."""

    def __init__(self, address: RedisAddress, keys: Keys) -> None:
        self._address = address
        self._keys = keys

    @classmethod
    def of(cls, config: RedisConfig, *, mesh: str) -> RedisBroker:
        """The one that the configuration names. Raises ConfigError."""
        return cls(RedisAddress.of(config), Keys(mesh))

    def __repr__(self) -> str:
        return f"<RedisBroker {self._address}>"

    async def router_lanes(self) -> RedisRouterLanes:
        return await RedisRouterLanes.open(self._address, self._keys)

    async def node_lanes(self) -> RedisNodeLanes:
        return await RedisNodeLanes.open(self._address, self._keys)

    def registry(self) -> RedisRegistry:
        return RedisRegistry(self._address, self._keys)

    def quotas(self) -> RedisQuotas:
        return RedisQuotas(self._address, self._keys)
