"""What nodes say of themselves to routers, in the words of link.proto; nothing is encoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from isochrone.latency import Latency
from isochrone.simulator.router import Node


class SeenLatency(NamedTuple):
    """link.proto: Latency."""

    base_us: float
    per_unit_us: float
    spread: float

    @classmethod
    def of(cls, latency: Latency) -> SeenLatency:
        return cls(latency.base_s * 1e6, latency.per_unit_s * 1e6, latency.spread)


class SeenVariant(NamedTuple):
    """link.proto: Variant."""

    latency: SeenLatency
    batch_units: int
    batch_jobs: int


class SeenLane(NamedTuple):
    """link.proto: LaneState."""

    lane: str
    latency: SeenLatency
    mean_jobs: float
    mean_units: float
    stands_back: bool


class SeenState(NamedTuple):
    """link.proto: NodeState."""

    claiming: tuple[str, ...]
    lanes: tuple[SeenLane, ...]
    busy_us: int


class SeenNode:
    """A node's link, as far as the planner's parts look at it (isochrone.link.node_link.NodeLink)."""

    __slots__ = ("free_at_s", "given", "name", "node", "report", "variants")

    def __init__(self, node: Node, variants: Mapping[str, SeenVariant]) -> None:
        self.node = node
        self.name = node.name
        self.variants = variants
        self.report = SeenState(tuple(variants), (), 0)
        self.given = 0
        """Jobs of this router's that it holds."""
        self.free_at_s = 0.0

    def __repr__(self) -> str:
        return f"<SeenNode {self.name}, holds {self.given} jobs>"
