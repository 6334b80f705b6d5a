"""What stands by for a route, worked out once from the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isochrone.config import FallbackConfig, RouteConfig
from isochrone.config.static_answer import answers_of
from isochrone.errors import IsochroneError

LOOK_RESERVE_S = 0.002
"""What is kept of a request's time for a look into the cache, where that is another process."""
MOST_RESERVED = 0.5
"""The most of a request's time that is kept for others than its own route."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to an answer: by a static one, another route, or else the last good one."""

    config: FallbackConfig
    reserve_s: float
    """What is kept of a request's time for it."""
    static: tuple[bytes, ...] = ()
    route: str = ""
    ttl_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Standby:
    """A route's ways, in order of preference."""

    deadline_s: float
    ways: tuple[Way, ...]
    reserve_s: float
    """For all of them."""
    ttl_s: float
    """How long its answers are remembered; 0: they aren't."""

    def for_failure(self, error: IsochroneError) -> list[Way]:
        """Those that stand in for it."""
        return [way for way in self.ways if way.config.covers(error)]

    def scale(self, deadline_s: float) -> float:
        """What a request with so much time keeps of the reserves, as a fraction of them."""
        if not self.reserve_s:
            return 1.0
        return max(0.0, min(1.0, MOST_RESERVED * deadline_s / self.reserve_s))


def standby_of(name: str, routes: Mapping[str, RouteConfig], *, looks: bool) -> Standby:
    """`looks`: last good answers are also sought outside of this process. Raises ValueError where a static answer
    can't be read."""
    route = routes[name]
    ways = []
    for config in route.fallback:
        if config.static is not None:
            ways.append(Way(config, 0.0, static=answers_of(name, config.static)))
        elif config.route is not None:
            reserve_ms = config.reserve_ms or routes[config.route].objective_ms
            ways.append(Way(config, reserve_ms / 1e3, route=config.route))
        else:
            assert config.last_good is not None
            ways.append(Way(config, LOOK_RESERVE_S if looks else 0.0, ttl_s=config.last_good.ttl_s))
    return Standby(
        deadline_s=route.deadline_ms / 1e3,
        ways=tuple(ways),
        reserve_s=sum(way.reserve_s for way in ways),
        ttl_s=max((way.ttl_s for way in ways), default=0.0),
    )
