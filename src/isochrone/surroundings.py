"""What a process has around it where it is configured: a Redis, a collector.

Their libraries take half as long to import as all the rest. A process that goes without starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isochrone.config import MeshConfig

if TYPE_CHECKING:
    from isochrone.broker import Broker
    from isochrone.export import Export


def broker_of(config: MeshConfig) -> Broker | None:
    """The Redis that the configuration names; None where it goes without. Raises ConfigError.

    An embedded Redis has its URL in the environment; where nobody started one, there is none."""
    if config.redis.resolved_url() in ("none", "embedded"):
        return None
    from isochrone.redis_broker import RedisBroker

    return RedisBroker.of(config.redis, mesh=config.mesh)


def export_of(config: MeshConfig, *, service: str, name: str, device: str = "") -> Export | None:
    """The collector that the configuration or the environment names, for a process of that name; None where neither
    does. Raises ConfigError. Inside a running event loop."""
    endpoint = config.telemetry.endpoint()
    if endpoint is None:
        return None
    from isochrone.export import Export

    return Export.of(endpoint, service=service, name=name, mesh=config.mesh, device=device)
