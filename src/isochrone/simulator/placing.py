"""How others place requests: at random, in turn, on the least loaded node, or in one queue for all."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from heapq import heappop, heappush
from itertools import accumulate
from random import Random
from typing import cast

from isochrone.simulator.contender import Placement
from isochrone.simulator.job import NEVER_S, Job
from isochrone.simulator.lane import Fifo, SharedLane
from isochrone.simulator.router import Node


class Group:
    """The nodes of one lane, as one router sees them."""

    def __init__(self, lane: str, nodes: Sequence[Node], queue: SharedLane | Fifo | None) -> None:
        self.lane = lane
        self.nodes = nodes
        self.queue = queue
        """That they share, where they do."""


class Peer:
    """Chooses a lane of the route by fixed parts, and a node of it by a rule that knows nothing of deadlines."""

    def __init__(
        self,
        groups: Sequence[Sequence[Group]],
        *,
        placement: Placement,
        parts: Sequence[Sequence[float]],
        random: Random,
    ) -> None:
        """`groups` of each route, and in which `parts` requests go to them."""
        self._groups = groups
        self._parts = [list(accumulate(of_route)) for of_route in parts]
        self._placement = placement
        self._random = random
        self._turns: dict[str, int] = {}
        self._under_way: dict[Node, int] = {}
        self._least: dict[str, list[tuple[int, int, Node]]] = {}
        self._pushed = 0
        for of_route in groups:
            for group in of_route:
                heap = self._least.setdefault(group.lane, [])
                if not heap:
                    for index, node in enumerate(group.nodes):
                        self._under_way[node] = 0
                        heap.append((0, index, node))
        self._pushed = sum(map(len, self._least.values()))
        self._lanes_of: dict[Node, list[str]] = {}
        for lane, heap in self._least.items():
            for _, _, node in heap:
                self._lanes_of.setdefault(node, []).append(lane)

    def __repr__(self) -> str:
        return f"<Peer {self._placement}>"

    def place(self, job: Job, now_s: float) -> SharedLane | Fifo | Node | str:
        group = self._group(job)
        job.lane = group.lane
        if group.queue is not None:
            return group.queue
        node = self._node(group)
        if node is None:
            return "no node"
        self._count(node, 1)
        job.node = node
        return node

    def another(self, job: Job, now_s: float, *, but: Node | None) -> Node | None:
        groups = [group for group in self._groups[job.route] if group.lane == job.lane]
        nodes = [node for group in groups for node in group.nodes if node.is_up and node is not but]
        if not nodes:
            return None
        node = min(nodes, key=lambda node: self._under_way[node])
        self._count(node, 1)
        return node

    def hedge(self, job: Job, now_s: float) -> Node | None:
        return None

    def overdue_after_s(self, lane: str, finish_in_s: float, now_s: float) -> float:
        return NEVER_S

    def left_lane(self, job: Job) -> None:
        pass

    def claimed(self, node: Node, jobs: Sequence[Job], finish_in_s: float, now_s: float) -> None:
        pass

    def answered(self, job: Job, now_s: float) -> None:
        pass

    def over(self, job: Job, took_s: float, now_s: float, *, teaches: bool) -> None:
        node = job.node
        if self._placement is Placement.LEAST_LOADED and node is not None:
            self._count(cast("Node", node), -1)

    def _group(self, job: Job) -> Group:
        groups, until = self._groups[job.route], self._parts[job.route]
        if len(groups) == 1:
            return groups[0]
        return groups[min(bisect_right(until, self._random.random() * until[-1]), len(groups) - 1)]

    def _node(self, group: Group) -> Node | None:
        nodes = group.nodes
        if self._placement is Placement.LEAST_LOADED:
            return self._least_loaded(group.lane)
        for _ in range(len(nodes)):
            if self._placement is Placement.RANDOM:
                node = nodes[int(self._random.random() * len(nodes))]
            else:
                turn = self._turns.get(group.lane, 0)
                self._turns[group.lane] = turn + 1
                node = nodes[turn % len(nodes)]
            if node.is_up:
                return node
        return next((node for node in nodes if node.is_up), None)

    def _least_loaded(self, lane: str) -> Node | None:
        heap = self._least[lane]
        down = []
        found = None
        while heap:
            count, _, node = heap[0]
            if count != self._under_way[node]:
                heappop(heap)  # it has changed since, and stands there anew
            elif not node.is_up:
                down.append(heappop(heap))
            else:
                found = node
                break
        for entry in down:
            heappush(heap, entry)
        return found

    def _count(self, node: Node, change: int) -> None:
        if self._placement is not Placement.LEAST_LOADED:
            return
        self._under_way[node] += change
        self._pushed += 1
        for lane in self._lanes_of[node]:
            heappush(self._least[lane], (self._under_way[node], self._pushed, node))


def parts_of(groups: Sequence[Group], split: Mapping[str, float] | None, pools: Mapping[str, str]) -> list[float]:
    """In which parts a route's requests go to its lanes: as `split` says by pool, else by how many nodes there are.
    `pools` by lane. Where the split leaves a route nothing, all go to its first lane."""
    if split is None:
        return [float(len(group.nodes)) for group in groups]
    parts = [split.get(pools[group.lane], 0.0) for group in groups]
    return parts if sum(parts) > 0 else [1.0, *([0.0] * (len(groups) - 1))]
