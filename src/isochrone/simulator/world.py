"""Puts a scenario and a contender together, and lets time pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from random import Random

from isochrone.keys import Tier
from isochrone.link.router_link import PING_S
from isochrone.simulator.arrivals import Arrival, arrivals
from isochrone.simulator.contender import Batching, Contender, Placement
from isochrone.simulator.device import Device
from isochrone.simulator.engine import Engine
from isochrone.simulator.gate import Gate
from isochrone.simulator.job import Job
from isochrone.simulator.lane import Fifo, SharedLane
from isochrone.simulator.node import MeshNode
from isochrone.simulator.peer_node import PeerNode
from isochrone.simulator.peers import batcher
from isochrone.simulator.placing import Group, Peer, parts_of
from isochrone.simulator.planned import Planned
from isochrone.simulator.router import Node, Placer, Router
from isochrone.simulator.scenario import EventConfig, Scenario
from isochrone.simulator.seen import SeenState
from isochrone.simulator.tally import Tally
from isochrone_router.attempts import AttemptBudget


class World:
    """One run: nodes, queues, routers, and a clock that nobody waits for."""

    def __init__(self, scenario: Scenario, contender: Contender) -> None:
        """`contender` is a single setting. Raises ConfigError for recorded arrivals that can't be read."""
        self._scenario = scenario
        self._contender = contender
        self.engine = Engine()
        self.tally = Tally(scenario)
        self._lanes: dict[str, SharedLane] = {}
        self._fifos: dict[str, Fifo] = {}
        self._planners: list[Planned] = []
        self.nodes: dict[str, list[MeshNode | PeerNode]] = {
            pool: [self._node(pool, index) for index in range(config.nodes)] for pool, config in scenario.pools.items()
        }
        self._routes = [
            (route.objective_ms / 1e3, route.deadline_ms / 1e3, route.tier) for route in scenario.routes.values()
        ]
        self.routers = [self._router(index) for index in range(scenario.router.processes)]
        self._turns = cycle(self.routers)
        self._drops = contender.drops_expired
        self._arrivals: Iterator[Arrival] = iter(arrivals(scenario))
        self._hop_s = scenario.network.hop_us / 1e6
        self._router_s = scenario.network.router_us / 1e6
        self._offered = 0
        self._under_way: list[Job] = []

    def __repr__(self) -> str:
        nodes = sum(map(len, self.nodes.values()))
        return f"<World of {nodes} nodes, {self._contender.title}, {self.engine!r}>"

    def run(self) -> Tally:
        """Until every request has ended."""
        every = [node for nodes in self.nodes.values() for node in nodes]
        for index, node in enumerate(every):
            node.start()
            if self._planners and isinstance(node, MeshNode):
                self.engine.at(PING_S * index / len(every), self._report, node)
        self._link(every)
        for event in self._scenario.events:
            self.engine.at(event.at_s, self._happen, event)
        self._next()
        longest_s = max(deadline_s for _, deadline_s, _ in self._routes)
        self.engine.run(self._scenario.duration_s + longest_s + 1.0)
        return self.tally

    def _next(self) -> None:
        arrival = next(self._arrivals, None)
        if arrival is not None:
            self.engine.at(arrival.at_s + self._router_s, self._arrive, arrival)

    def _arrive(self, arrival: Arrival) -> None:
        objective_s, deadline_s, _ = self._routes[arrival.route]
        router = next(self._turns)
        self._offered += 1
        job = Job(
            self._offered,
            route=arrival.route,
            units=arrival.units,
            tier=arrival.tier,
            arrived_s=arrival.at_s,
            objective_s=arrival.at_s + objective_s,
            deadline_s=arrival.at_s + deadline_s,
            drops=self._drops,
            router=router,
        )
        router.receive(job)
        self._next()

    def _link(self, nodes: Sequence[MeshNode | PeerNode]) -> None:
        """Planners learn that they are there."""
        for planner in self._planners:
            planner.linked({node: node.variants() for node in nodes if isinstance(node, MeshNode)})

    def _report(self, node: MeshNode) -> None:
        """Each node says how it is, five times a second."""
        if node.is_up:
            self.engine.after(self._hop_s, self._reported, node, node.state())
        self.engine.after(PING_S, self._report, node)

    def _reported(self, node: MeshNode, state: SeenState) -> None:
        for planner in self._planners:
            planner.reported(node, state, self.engine.now_s)

    def _happen(self, event: EventConfig) -> None:
        for node in self.nodes[event.pool][: event.nodes]:
            if event.does == "slow":
                node.device.pace = event.factor
            elif event.does == "fail" and node.is_up:
                self._fail(node)
            elif event.does == "return" and not node.is_up:
                node.come_back()
                self._link((node,))
            elif event.does == "return":
                node.device.pace = 1.0

    def _fail(self, node: MeshNode | PeerNode) -> None:
        """Its links break, and everybody knows."""
        lost = node.fail()
        for planner in self._planners:
            planner.link_down(node)
        for job in lost:
            job.router.lost(job, node)

    def _node(self, pool: str, index: int) -> MeshNode | PeerNode:
        scenario, contender = self._scenario, self._contender
        services = scenario.lanes_of(pool)
        device = Device(Random(f"{scenario.seed}/{pool}/{index}"))
        hop_s = scenario.network.hop_us / 1e6
        shared = contender.placement is Placement.LANE
        name = f"{pool}-{index}"
        if contender.batching is Batching.DEADLINE:
            lanes = {}
            if contender.placement in (Placement.PLANNER, Placement.LANE):
                lanes = {lane: self._lanes.setdefault(lane, SharedLane(lane)) for lane in services}
            for lane in lanes.values():
                lane.claimers += 1
            return MeshNode(
                name,
                pool,
                services,
                lanes=lanes,
                device=device,
                engine=self.engine,
                hop_s=hop_s,
                least={tier: scenario.mesh.share(tier) for tier in Tier},
                tally=self.tally,
            )
        queues = {lane: self._fifos.setdefault(lane, Fifo()) if shared else Fifo() for lane in services}
        return PeerNode(
            name,
            pool,
            services,
            queues=queues,
            batchers={
                lane: batcher(contender, service.limits, objective_s=self._tightest_s(lane))
                for lane, service in services.items()
            },
            shared=shared,
            drops=contender.drops_expired,
            device=device,
            engine=self.engine,
            hop_s=hop_s,
            tally=self.tally,
        )

    def _tightest_s(self, lane: str) -> float:
        """The least objective of the routes that the lane answers."""
        return min(
            (route.objective_ms / 1e3 for route in self._scenario.routes.values() if lane in route.all_lanes),
            default=float("inf"),
        )

    def _router(self, index: int) -> Router:
        scenario = self._scenario
        hop_s = scenario.network.hop_us / 1e6
        placer = self._placer(index)
        count = placer.others_are if isinstance(placer, Planned) and scenario.router.processes > 1 else None
        linger_s = scenario.router.linger_ms / 1e3
        return Router(
            placer,
            gate=Gate(engine=self.engine, hop_s=hop_s, linger_s=linger_s, counted=count),
            engine=self.engine,
            tally=self.tally,
            hop_s=hop_s,
            router_s=scenario.network.router_us / 1e6,
            attempts=AttemptBudget(scenario.router.extra_attempts),
        )

    def _placer(self, index: int) -> Placer:
        scenario, contender = self._scenario, self._contender
        if contender.placement is Placement.PLANNER:
            planned = Planned(scenario, self._lanes, routers=scenario.router.processes)
            self._planners.append(planned)
            return planned
        pools = {lane: pool for pool in scenario.pools for lane in scenario.lanes_of(pool)}
        groups = [[self._group(lane, pools) for lane in route.lanes] for route in scenario.routes.values()]
        split = contender.splits[0] if contender.splits else None
        return Peer(
            groups,
            placement=contender.placement,
            parts=[parts_of(of_route, split, pools) for of_route in groups],
            random=Random(f"{scenario.seed}/placing/{index}"),
        )

    def _group(self, lane: str, pools: Mapping[str, str]) -> Group:
        nodes: Sequence[Node] = self.nodes[pools[lane]]
        queues: Mapping[str, SharedLane | Fifo] = {**self._fifos, **self._lanes}
        return Group(lane, nodes, queues.get(lane))


def simulate(scenario: Scenario, contender: Contender) -> Tally:
    """One run of one setting. Every request has ended when it returns. Raises ConfigError as World does."""
    return World(scenario, contender).run()
