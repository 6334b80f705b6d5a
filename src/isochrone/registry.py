"""Who is there: routers and nodes announce themselves and read of each other.

A record lives a few heartbeats; whoever stops beating disappears. Nobody compares clocks: the registry itself
expires the records. What each writes is what the others need to use a lane safely (docs/architecture.md, "Blind
lanes"). `isochrone.redis_registry` has the registry that processes share, `isochrone.memory_broker` its twin in
memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class RouterRecord(BaseModel):
    """A router process, as it announces itself."""

    model_config = ConfigDict(frozen=True)

    boot: int
    name: str
    uses: tuple[str, ...]
    """Lanes it pushes jobs to, or may at any moment."""


class LaneRecord(BaseModel):
    """How long a node's batches of one lane take: t(units) = base + per_unit · units."""

    model_config = ConfigDict(frozen=True)

    base_us: float
    per_unit_us: float
    spread: float
    """Mean absolute error lately, as a fraction of what was predicted."""
    batch_units: int
    """The most units of one batch."""


class NodeRecord(BaseModel):
    """A node, as it announces itself."""

    model_config = ConfigDict(frozen=True)

    boot: int
    name: str
    address: str
    device: str
    lanes: tuple[str, ...]
    """Lanes it serves."""
    claims: tuple[str, ...]
    """Those of them it claims jobs from now."""
    latency: Mapping[str, LaneRecord] = {}
    """Of each lane, as it is now."""


@dataclass(frozen=True, slots=True)
class Census:
    """All records alive when it was read."""

    routers: tuple[RouterRecord, ...] = ()
    nodes: tuple[NodeRecord, ...] = ()


class RegistryUnavailable(Exception):
    """The registry can't be asked just now."""


class Registry(Protocol):
    """Announces one process and reads all. Every method but `close` may raise RegistryUnavailable."""

    async def beat(self, record: RouterRecord | NodeRecord) -> Census:
        """Renews our record and reads everybody's."""

    async def read(self) -> Census:
        """Everybody who is there now."""

    async def leave(self, record: RouterRecord | NodeRecord) -> None:
        """Takes our record away at once."""

    async def close(self) -> None: ...


def kind_of(record: RouterRecord | NodeRecord) -> str:
    """The word for such records in keys."""
    return "router" if isinstance(record, RouterRecord) else "node"
