"""Nodes as a router knows them, which report as real ones do, but are nowhere: for what a router does with that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

from isochrone.link.node_link import NodeLink
from isochrone.v1 import link_pb2
from isochrone_router.lane_view import LaneView, LinkedNode

REPORT_S = 0.2
"""How often a node reports (NodeState)."""


class ReportedLink:
    """What a router has of a link to a node that serves some lanes."""

    def __init__(self, name: str, lanes: Sequence[str], *, base_us: float, per_unit_us: float, most: int) -> None:
        self.name = name
        latency = link_pb2.Latency(base_us=base_us, per_unit_us=per_unit_us, spread=0.05)
        self.variants = {
            lane: link_pb2.Variant(
                lane=lane,
                variant=lane.partition("@")[0],
                max_units=most,
                batch_units=most,
                batch_jobs=most,
                latency=latency,
            )
            for lane in lanes
        }
        self.report = link_pb2.NodeState(
            claiming=lanes,
            lanes=[
                link_pb2.LaneState(
                    lane=lane, latency=latency, jobs=1000, batches=200, units=1000, mean_jobs=5, mean_units=5
                )
                for lane in lanes
            ],
        )
        self.given = 0
        self.free_at_s = 0.0


class Reporting:
    """Nodes that all serve all of some lanes, and report one after the other, each every REPORT_S."""

    def __init__(self, views: Sequence[LaneView], *, nodes: int, base_us: float, per_unit_us: float, most: int) -> None:
        lanes = [view.lane for view in views]
        self._views = views
        self._links = [
            ReportedLink(f"node-{number}", lanes, base_us=base_us, per_unit_us=per_unit_us, most=most)
            for number in range(nodes)
        ]
        for view in views:
            view.is_open = True
            view.nodes = [LinkedNode(cast(NodeLink, link), view.lane) for link in self._links]
            view.renew()
        self._turns = self._each()
        self._next_s = 0.0

    def until(self, now_s: float, *, busy_s: float) -> None:
        """Has those report whose time has come; each is then busy for so long."""
        while self._next_s <= now_s:
            link = next(self._turns)
            link.free_at_s = now_s + busy_s
            for view in self._views:
                view.renew_soon(cast(NodeLink, link))
            self._next_s = max(self._next_s, now_s - REPORT_S) + REPORT_S / len(self._links)

    def _each(self) -> Iterator[ReportedLink]:
        while True:
            yield from self._links
