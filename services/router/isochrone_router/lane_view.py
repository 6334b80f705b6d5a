"""One lane as a router sees it: its nodes, whether it can be used, and what it promises."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from isochrone.link.node_link import NodeLink
from isochrone.v1 import link_pb2
from isochrone_router.forecast import Forecast

RENEW_S = 0.5
"""However many nodes report, the forecast is made anew so often at most."""


class LinkedNode:
    """A node that can be addressed for jobs of one lane (NodeFacts)."""

    __slots__ = (
        "_in_full_s",
        "_most_jobs",
        "_most_units",
        "_place",
        "base_s",
        "batch_units",
        "claims",
        "lane",
        "link",
        "per_job_s",
        "per_unit_s",
        "weight",
    )

    def __init__(self, link: NodeLink, lane: str) -> None:
        self.link = link
        self.lane = lane
        self.claims = lane in link.report.claiming  # when that changes, all views are made anew
        variant = link.variants[lane]
        self._most_units, self._most_jobs = variant.batch_units, variant.batch_jobs or variant.batch_units
        self.base_s = self.per_unit_s = self.per_job_s = self._in_full_s = 0.0
        self.batch_units = 0
        self.weight = 1.0
        self._place = 0
        self.renew()

    def __repr__(self) -> str:
        return f"<LinkedNode {self.link.name}, {self.base_s * 1e3:.2f} ms + {self.per_unit_s * 1e6:.1f} µs a unit>"

    @property
    def free_at_s(self) -> float:
        return self.link.free_at_s

    @property
    def backlog_s(self) -> float:
        # A job that weighs nothing still counts, so that equal nodes share.
        return (self._in_full_s + 1e-6) * self.link.given

    def done_in_s(self, units: float, *, now_s: float) -> float:
        """Until it would be done with a job of that weight that is addressed to it."""
        return max(self.backlog_s, self.free_at_s - now_s) + self.base_s + self.per_unit_s * units

    def renew(self) -> None:
        """Takes in what the node has said of itself. With many nodes of many lanes, it is most of what plans cost."""
        jobs = weight = 1.0
        state = self._state()
        if state is not None:
            latency = state.latency
            jobs = state.mean_jobs
            if jobs < 1.0:
                jobs = 1.0
            weight = state.mean_units / jobs
        else:
            latency = self.link.variants[self.lane].latency
        self.weight = weight
        self.base_s = base_s = latency.base_us / 1e6
        self.per_unit_s = per_unit_s = latency.per_unit_us / 1e6
        self.per_job_s = self._in_full_s = base_s / jobs + per_unit_s * weight
        units = self._most_units
        if units:
            full = int(self._most_jobs * weight) if weight > 1.0 else self._most_jobs
            if full < units:
                units = full if full > 1 else 1
            self._in_full_s = (base_s / units + per_unit_s) * weight
        self.batch_units = units

    def _state(self) -> link_pb2.LaneState | None:
        """What the node said last of this lane. It has its place among the others: to look at all of them for each lane
        of each node was most of what plans cost with many of both."""
        states = self.link.report.lanes
        try:
            state = states[self._place]
        except IndexError:
            pass
        else:
            if state.lane == self.lane:
                return state
        for self._place, state in enumerate(states):
            if state.lane == self.lane:
                return state
        return None


@dataclass(slots=True, eq=False)
class LaneView:
    """Kept current by Links, from what links say."""

    lane: str
    forecast: Forecast = field(default_factory=Forecast)
    nodes: list[LinkedNode] = field(default_factory=list)
    is_open: bool = False
    changes: int = 0
    """How often nodes have come or gone, or the lane was opened or closed."""
    _reported: set[NodeLink] = field(default_factory=set)
    _renewed_s: float = float("-inf")

    @property
    def depth(self) -> int:
        """Jobs waiting in the lane: others' as they were counted last, and ours, there or on their way."""
        return self.forecast.waiting.total

    def renew_soon(self, link: NodeLink) -> None:
        """A node has reported."""
        self._reported.add(link)

    def renew_if_due(self, now_s: float) -> None:
        """Takes in what was reported since, unless that was done just now."""
        if self._reported and now_s - self._renewed_s >= RENEW_S:
            self._renewed_s = now_s
            for node in self.nodes:
                if node.link in self._reported:
                    node.renew()
            self._reported.clear()
            self.renew()

    def renew(self) -> None:
        """Makes the forecast anew, of the nodes that claim; of all of them while the lane isn't used."""
        claiming = [node for node in self.nodes if node.claims]
        self.forecast.renew(claiming if self.is_open and claiming else self.nodes)


def see_each_other(views: Collection[LaneView]) -> None:
    """Tells forecasts of lanes whose nodes claim from others too what part of those lanes' work falls to them."""
    for view in views:
        view.forecast.beside = ()
    claiming = [(view.forecast, {node.link for node in view.nodes if node.claims}) for view in views if view.is_open]
    for forecast, links in claiming:
        forecast.beside = [
            (other, len(links & theirs) / len(theirs))
            for other, theirs in claiming
            if other is not forecast and links & theirs
        ]
