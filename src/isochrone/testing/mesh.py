"""A whole mesh in one process: real routers, real nodes with your models, and nothing to install or start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel

from isochrone.answers import AnswerStore
from isochrone.client.budget import Budget
from isochrone.client.transport import Answer
from isochrone.config import CallerConfig, DeviceConfig, MeshConfig, RouteConfig, RouterConfig
from isochrone.deadline import Clock
from isochrone.errors import IsochroneError
from isochrone.memory_broker import MemoryBroker
from isochrone.model import Model, StreamModel, lane_name
from isochrone.node.node import Node
from isochrone.rpc import Call
from isochrone.starting import Done, streamed
from isochrone.testing.network import Network
from isochrone.testing.virtual_time import VirtualClock, VirtualLoop, virtual_clock
from isochrone_router.router import Router

MESH = "local"
DEVICE = "cpu"
SETTLE_S = 10.0
NO_LINGER = {"linger_ms": 0}
"""Waiting for company saves CPU, which costs nothing here; and how short of it a process is, is nobody's to foresee."""


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes of one device class, each of which serves these models."""

    device: str
    """"emulated-…" where it is one in name only, as whatever its answers say then tells."""
    models: Sequence[Model | StreamModel]
    nodes: int = 1


@dataclass(frozen=True, slots=True)
class UnderWay:
    """What a mesh still holds of requests: all zero when every one of them is over."""

    requests: int
    """Not yet answered by their router."""
    in_lanes: int
    on_nodes: int
    """Claimed or given, and not yet running."""


class _NeverBusy:
    """BusyTime of a router for which work takes no time, so that a test's outcome doesn't hang on the machine."""

    def seconds(self) -> float:
        return 0.0

    def close(self) -> None: ...


class LocalMesh:
    """Routers, lanes, links and nodes as in production, without Redis and gRPC between them.

    Under `@virtual_time` it runs on a clock that jumps over all waiting; on an ordinary loop, in real time.
    """

    def __init__(
        self,
        models: Sequence[Model | StreamModel],
        *,
        routes: Mapping[str, RouteConfig | Mapping[str, Any]],
        nodes: int = 1,
        more: Sequence[Group] = (),
        routers: int = 1,
        lanes: bool = True,
        hop_s: float = 0.0,
        router: RouterConfig | Mapping[str, Any] | None = None,
        devices: Mapping[str, DeviceConfig | Mapping[str, Any]] | None = None,
        tiers: Mapping[str, float] | None = None,
        callers: Mapping[str, CallerConfig | Mapping[str, Any]] | None = None,
        answers: AnswerStore | None = None,
    ) -> None:
        """`models` are served by each of so many `nodes` on the device class "cpu", and `more` by others. `routes`,
        `router`, `devices`, `tiers` and `callers` are as in a mesh's YAML file; a route that names no lanes may use
        those of all models that serve it. Without `lanes`, jobs go over the links as they do without Redis. `hop_s` is
        how long a message takes over a link. `answers` is where the routers keep last good answers together; without
        it, each does by itself."""
        loop = asyncio.get_running_loop()
        self._clock: Clock = loop.clock if isinstance(loop, VirtualLoop) else loop.time
        self.broker = MemoryBroker(clock=self._clock) if lanes else None
        self.nodes: list[Node] = []
        self._groups = (Group(DEVICE, models, nodes), *more)
        self._nodes_made = 0
        self._network = Network(hop_s=hop_s)
        config = MeshConfig.model_validate(
            {
                "mesh": MESH,
                "redis": {"url": "none"},
                "router": {**NO_LINGER, **_given(router)},
                "callers": {caller: _given(its) for caller, its in (callers or {}).items()},
                "devices": {device: _given(cost) for device, cost in (devices or {}).items()},
                "tiers": tiers or {},
                "routes": {route: _with_lanes(route, sla, self._groups) for route, sla in routes.items()},
            }
        )
        self.routers = [
            Router(
                config.model_copy(update={"router": config.router.model_copy(update={"name": f"router-{index}"})}),
                broker=self.broker,
                nodes=() if lanes else [_address(node) for node in range(sum(group.nodes for group in self._groups))],
                clock=self._clock,
                dial=self._network.dial_as(f"router-{index}"),
                busy=_NeverBusy(),
                answers=answers,
            )
            for index in range(routers)
        ]

    def __repr__(self) -> str:
        return f"<LocalMesh {self.routers!r}, {self.nodes!r}>"

    @property
    def clock(self) -> VirtualClock:
        """The clock that all of it runs on. Raises RuntimeError on an ordinary loop."""
        return virtual_clock()

    @property
    def router(self) -> Router:
        """The first, and usually the only one."""
        return self.routers[0]

    async def __aenter__(self) -> Self:
        try:
            for group in self._groups:
                for _ in range(group.nodes):
                    await self.add_node(group.models, device=group.device)
            await asyncio.gather(*(router.join() for router in self.routers))
            await self.settled()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for node in self.nodes:
            self.heal(node)  # else neither end would hear that the other leaves
        for router in self.routers:
            await router.close()
        for node in list(self.nodes):
            await self.kill_node(node)

    async def call(
        self,
        route: str,
        payload: bytes,
        *,
        timeout_s: float | None = None,
        variant: str | None = None,
        tier: str = "",
        router: int = 0,
    ) -> Answer:
        """What a client of one of the routers gets: the answer with its budget, or an IsochroneError with its
        `budget`. Cancelled with the task that waits for it."""
        call = self.make_call(route, payload, timeout_s, variant, tier)
        try:
            answered = await self.routers[router].front.serve(call)
        except IsochroneError as error:
            if error.budget is not None:
                error.budget = Budget(error.budget)
            raise
        return Answer(answered.payload, Budget(answered.budget))

    def stream(
        self,
        route: str,
        payload: bytes,
        *,
        timeout_s: float | None = None,
        variant: str | None = None,
        router: int = 0,
        ended: Done = lambda what: None,
    ) -> AsyncIterator[bytes]:
        """The chunks of an answer that streams; `ended` is told of its end. Closing the iterator ends the request."""
        return streamed(self.routers[router].front.start, self.make_call(route, payload, timeout_s, variant), ended)

    def make_call(
        self,
        route: str,
        payload: bytes,
        timeout_s: float | None = None,
        variant: str | None = None,
        tier: str = "",
    ) -> Call:
        """A request as it arrives now, for a Start."""
        now_s = self._clock()
        return Call(
            route=route,
            request=payload,
            received_s=now_s,
            deadline_s=None if timeout_s is None else now_s + timeout_s,
            variant=variant,
            tier=tier,
        )

    async def add_node(self, models: Sequence[Model | StreamModel], *, device: str = DEVICE) -> Node:
        """Starts one more node. Routers find it in the registry within a heartbeat: `settled` waits for that.
        Without lanes there is no registry, and it is not found."""
        node = Node(
            models,
            name=f"node-{self._nodes_made}",
            mesh=MESH,
            device=device,
            listen=_address(self._nodes_made),
            broker=self.broker,
            clock=self._clock,
        )
        self._nodes_made += 1
        await node.load()
        node.join()
        self._network.plug_in(node)
        self.nodes.append(node)
        return node

    async def drain_node(self, node: Node, *, grace_s: float = 10.0) -> None:
        """Lets a node finish what it has, as SIGTERM does."""
        await node.drain(grace_s)
        self._remove(node)

    async def kill_node(self, node: Node) -> None:
        """Ends a node with all it has, as SIGKILL does."""
        self._remove(node)
        await node.close()

    def partition(self, node: Node, *, router: int | None = None) -> None:
        """Cuts a node's links, or the one to that router, without breaking them: what is sent waits until healed."""
        for each in self.routers if router is None else [self.routers[router]]:
            self._network.cut(each.name, node)

    def heal(self, node: Node) -> None:
        for router in self.routers:
            self._network.mend(router.name, node)

    def slow_links(self, *, to_nodes_s: float = 0.0, to_routers_s: float = 0.0) -> None:
        """From now on a message takes so long over a link, one way and the other."""
        self._network.slow_down(to_nodes_s=to_nodes_s, to_routers_s=to_routers_s)

    async def settled(self) -> None:
        """Waits until every node is linked and, while there are lanes, every lane is open. Raises TimeoutError."""
        async with asyncio.timeout(SETTLE_S):
            for router in self.routers:
                while not self._is_settled(router):
                    router.links.changed.clear()
                    await router.links.changed.wait()

    @property
    def under_way(self) -> UnderWay:
        queues = self.broker.lanes.queues.values() if self.broker else ()
        return UnderWay(
            requests=sum(len(router.flights) for router in self.routers),
            in_lanes=sum(map(len, queues)),
            on_nodes=sum(node.node_state().backlog_jobs for node in self.nodes),
        )

    def _is_settled(self, router: Router) -> bool:
        lanes_up = self.broker is not None and self.broker.lanes.is_up
        linked = {link.name for link in router.links.links.values() if link.takes_jobs}
        return {node.name for node in self.nodes} <= linked and all(
            view.is_open or not (lanes_up and view.nodes) for view in router.links.views.values()
        )

    def _remove(self, node: Node) -> None:
        self._network.unplug(node)
        self.nodes.remove(node)


def _address(index: int) -> str:
    return f"local:{index}"


def _given(settings: BaseModel | Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Settings as the YAML file would have them, without those left to their defaults."""
    return settings.model_dump(exclude_unset=True) if isinstance(settings, BaseModel) else settings or {}


def _with_lanes(route: str, sla: RouteConfig | Mapping[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """A route's configuration, with the lanes of all models that serve it where it names none."""
    able = [
        lane_name(model.variant, group.device) for group in groups for model in group.models if route in model.routes
    ]
    return {"lanes": list(dict.fromkeys(able)), **_given(sla)}
