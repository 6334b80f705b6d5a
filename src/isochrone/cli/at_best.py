"""What each lane of a mesh's file takes at best, as far as anybody knows; and promises that nobody could keep."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isochrone.building.pace import Pace
from isochrone.cli.installed import settings_of
from isochrone.errors import ConfigError
from isochrone.latency import Latency
from isochrone.model import lane_name

if TYPE_CHECKING:
    from isochrone.config import MeshConfig, RouteConfig
    from isochrone.registry import Census

REGISTRY_S = 0.5
"""So long is waited for a running mesh's Redis, where there may be one."""


@dataclass(frozen=True, slots=True)
class AtBest:
    """What a lane takes for one request of one unit, with nothing else to do."""

    lane: str
    unit: str
    latency: Latency
    source: str
    """Where that is known from."""

    @property
    def least_ms(self) -> float:
        """With some luck."""
        return self.latency.at_best(1) * 1e3

    def __str__(self) -> str:
        ms = self.latency.of(1) * 1e3
        return f"{self.lane} takes {_ms(ms)} for one {self.unit} ({self.source})"


def lanes_at_best(config: MeshConfig) -> dict[str, AtBest]:
    """By lane, of those that anything is known of: by their node groups' options, else as it was measured when the
    model was built, else as the nodes that run now say."""
    known: dict[str, AtBest] = {}
    for best in (*_by_options(config), *_by_builds(config)):
        before = known.get(best.lane)
        if before is None or best.latency.of(1) < before.latency.of(1):
            known[best.lane] = best
    wanted = {lane for route in config.routes.values() for lane in route.all_lanes} - known.keys()
    if wanted and config.redis.resolved_url() not in ("none", "embedded"):
        known |= {best.lane: best for best in _by_nodes(asyncio.run(_census(config))) if best.lane in wanted}
    return known


def broken_promise(route: RouteConfig, known: Mapping[str, AtBest]) -> str | None:
    """Why no lane of a route can ever meet its objective; None where one can, or where that isn't known."""
    lanes = [known.get(lane) for lane in route.all_lanes]
    bests = [best for best in lanes if best is not None]
    if len(bests) < len(lanes) or any(best.least_ms <= route.objective_ms for best in bests):
        return None
    quickest = min(bests, key=lambda best: best.latency.of(1))
    others = "" if len(bests) == 1 else ", and no lane of the route is quicker"
    return f"{route.objective_ms:g} ms can't be met: {quickest}{others}"


def doubtful_promise(route: RouteConfig, known: Mapping[str, AtBest]) -> str | None:
    """Why no lane will meet it as often as the target says; None where one will, or where that isn't known."""
    lanes = [known.get(lane) for lane in route.all_lanes]
    bests = [best for best in lanes if best is not None]
    within_ms = [best.latency.at(1, route.target) * 1e3 for best in bests]
    if len(bests) < len(lanes) or min(within_ms) <= route.objective_ms:
        return None
    quickest = bests[within_ms.index(min(within_ms))]
    often = f"{route.target * 100:g} %"
    return f"{route.objective_ms:g} ms won't be met by {often}: {quickest}, and {often} within {_ms(min(within_ms))}"


def _by_options(config: MeshConfig) -> Iterable[AtBest]:
    """A service's module may offer `settings.at_best_ms(node)`: by variant, the milliseconds and what a unit is."""
    for group, node in config.nodes.items():
        told = getattr(settings_of(node.service), "at_best_ms", None)
        if told is not None:
            for variant, (ms, unit) in told(node).items():
                lane = lane_name(variant, node.device)
                yield AtBest(lane, unit, Latency(ms / 1e3, 0.0), f"nodes.{group}.options")


def _by_builds(config: MeshConfig) -> Iterable[AtBest]:
    for lane in dict.fromkeys(lane for route in config.routes.values() for lane in route.all_lanes):
        variant, _, device = lane.rpartition("@")
        folder = config.models / variant
        pace = Pace.read(folder)
        if pace is not None and pace.device == device:
            unit = pace.unit.removesuffix("s")
            latency = Latency(pace.ms / 1e3, 0.0, pace.spread)
            yield AtBest(lane, unit, latency, f"measured when it was built, {folder}")


def _by_nodes(census: Census) -> Iterable[AtBest]:
    """The quickest node's of each lane. Of what answers step by step nodes can't foretell the first step."""
    best: dict[str, AtBest] = {}
    for node in census.nodes:
        for lane, record in node.latency.items():
            line = Latency(record.base_us / 1e6, record.per_unit_us / 1e6, record.spread)
            before = best.get(lane)
            if record.batch_units and (before is None or line.of(1) < before.latency.of(1)):
                best[lane] = AtBest(lane, "unit", line, f"by node {node.name}, which runs now")
    return best.values()


async def _census(config: MeshConfig) -> Census:
    """Who is in the mesh now; nobody where its Redis can't be asked quickly."""
    from isochrone.registry import Census, RegistryUnavailable
    from isochrone.surroundings import broker_of

    with suppress(ConfigError):  # said elsewhere, by whoever needs it
        broker = broker_of(config)
        if broker is not None:
            registry = broker.registry()
            try:
                async with asyncio.timeout(REGISTRY_S):
                    return await registry.read()
            except (RegistryUnavailable, TimeoutError):
                pass
            finally:
                await registry.close()
    return Census()


def _ms(ms: float) -> str:
    return f"{ms:.1f} ms" if ms >= 1 else f"{ms:.3f} ms"
