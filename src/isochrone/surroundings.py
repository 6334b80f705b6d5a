"""What a process has around it where it is configured: a Redis, another for last good answers, a collector.

Their libraries take half as long to import as all the rest. A process that goes without starts without them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from isochrone.config import MeshConfig
from isochrone.config.cache import database_of
from isochrone.errors import ConfigError

if TYPE_CHECKING:
    from isochrone.answers import AnswerStore
    from isochrone.broker import Broker
    from isochrone.export import Export


def broker_of(config: MeshConfig) -> Broker | None:
    """The Redis that the configuration names; None where it goes without. Raises ConfigError.

    An embedded Redis has its URL in the environment; where nobody started one, there is none."""
    if config.redis.resolved_url() in ("none", "embedded"):
        return None
    from isochrone.redis_broker import RedisBroker

    return RedisBroker.of(config.redis, mesh=config.mesh)


def answers_of(config: MeshConfig) -> AnswerStore | None:
    """The Redis of last good answers; None where it goes without, or no route wants any. Raises ConfigError, also where
    it is the lanes' own database after all, as the environment has it."""
    url = config.cache.resolved_url()
    if url in ("none", "embedded") or not config.remembers:
        return None
    database = database_of(url)
    if database is not None and database == database_of(config.redis.resolved_url()):
        raise ConfigError("cache.url and redis.url, with ISOCHRONE_CACHE_URL and ISOCHRONE_REDIS_URL, are one database")
    from isochrone.keys import Keys
    from isochrone.redis_answers import RedisAnswers
    from isochrone.resp import RedisAddress

    try:
        address = RedisAddress.of(config.cache)
    except ConfigError as error:
        raise ConfigError(error.message.replace("redis.", "cache.", 1)) from error
    return RedisAnswers(address, Keys(config.mesh))


def export_of(config: MeshConfig, *, service: str, name: str, device: str = "") -> Export | None:
    """The collector that the configuration or the environment names, for a process of that name; None where neither
    does. Raises ConfigError. Inside a running event loop."""
    endpoint = config.telemetry.endpoint()
    if endpoint is None:
        return None
    from isochrone.export import Export

    return Export.of(endpoint, service=service, name=name, mesh=config.mesh, device=device)
