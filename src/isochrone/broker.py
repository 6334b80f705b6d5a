"""Where the processes of a mesh meet: the lanes that they share, the registry, and quotas."""

from __future__ import annotations

from typing import Protocol

from isochrone.lane import NodeLanes, RouterLanes
from isochrone.quotas import Quotas
from isochrone.registry import Registry


class Broker(Protocol):
    """Redis (`isochrone.redis_broker`), or its twin in memory (`isochrone.memory_broker`)."""

    async def router_lanes(self) -> RouterLanes:
        """A new connection for a router. Raises LaneUnavailable, or ConfigError where the broker knows us not."""

    async def node_lanes(self) -> NodeLanes:
        """A new connection for a node. Raises LaneUnavailable, or ConfigError where the broker knows us not."""

    def registry(self) -> Registry:
        """The registry; whoever asks for it closes it."""

    def quotas(self) -> Quotas:
        """The callers' quotas; whoever asks for them closes them."""
