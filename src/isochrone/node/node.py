"""A node: one process that serves some variants on one device to all routers of a mesh."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc

from isochrone import node_metrics
from isochrone.broker import Broker
from isochrone.config import ServerTls
from isochrone.config.placing import SHARES
from isochrone.deadline import Clock, monotonic
from isochrone.errors import ConfigError
from isochrone.keys import Tier
from isochrone.link import version
from isochrone.link.router_link import RouterLink
from isochrone.link.stream import EOF, LinkBroken, LinkServer, NodeEnd
from isochrone.link.tls import LinkTls
from isochrone.methods import streams
from isochrone.model import Model, StreamModel
from isochrone.node.bystander import Bystander
from isochrone.node.claimer import Claimer
from isochrone.node.device import Device
from isochrone.node.intake import Intake
from isochrone.node.loop import NodeLoop, Trace
from isochrone.node.membership import Membership
from isochrone.node.own_api import OwnApi
from isochrone.node.served import BatchServed, Served
from isochrone.node.streams import StreamLoop, StreamServed
from isochrone.ports import beside
from isochrone.registry import Census, NodeRecord, Registry
from isochrone.rpc import Health, UnaryEdge, add_reflection, bind, handlers, server_options
from isochrone.server_tls import server_credentials
from isochrone.shares import Shares
from isochrone.stream_edge import StreamEdge
from isochrone.telemetry import Family
from isochrone.v1 import link_pb2

if TYPE_CHECKING:
    from isochrone.export import Export

log = logging.getLogger(__name__)


class Node:
    """Wires intake, claimer, loop and server. `start` loads, serves and joins the mesh; `drain` ends it in order."""

    def __init__(
        self,
        models: Sequence[Model | StreamModel],
        *,
        name: str,
        mesh: str,
        device: str,
        listen: str,
        api: str | None = None,
        advertise: str | None = None,
        broker: Broker | None = None,
        tls: LinkTls | None = None,
        api_tls: ServerTls | None = None,
        service: str = "",
        export: Export | None = None,
        shares: Mapping[Tier, float] = SHARES,
        clock: Clock = monotonic,
    ) -> None:
        """`tls` is for its links, `api_tls` for its own API. `service` is its name in traces, "isochrone-recsys";
        `export` tells a collector of its batches."""
        self.name = name
        self.boot = secrets.randbits(63)
        self.address = listen
        """Where routers link to it."""
        self.api_address = api or beside(listen)
        """Where it serves its own API."""
        self._models = models
        self._mesh = mesh
        self._advertise = advertise
        self._broker = broker
        self._service = service
        self._export = export
        self._clock = clock
        self._shares = Shares(shares, clock=clock)
        self._filled, self._stream_filled = asyncio.Event(), asyncio.Event()
        self._device = Device(device, clock=clock)
        self._served: dict[str, Served] = {}
        self._batches: dict[str, BatchServed] = {}
        self._streams: dict[str, StreamServed] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._working: list[asyncio.Task[None]] = []
        """Those of the tasks that answer jobs."""
        self._links = LinkServer(self.open_link, tls=tls)
        self._api_tls = api_tls
        self._server: grpc.aio.Server | None = None
        self._membership: Membership | None = None
        self._bystander: Bystander | None = None
        self._told: frozenset[str] = frozenset()
        """Lanes that routers have heard it claims from."""
        self._registry: Registry | None = None
        self._draining = False

    def __repr__(self) -> str:
        staged = sum(len(served.staging) for served in self._served.values())
        return f"<Node {self.name} at {self.address}, {staged} jobs staged>"

    async def start(self) -> None:
        """Loads, serves, and joins the mesh. Raises ConfigError where that can't be."""
        await self.load()
        await self._claimer.start()
        await self._serve()
        self.join()

    async def load(self) -> None:
        """Loads the models, warms them up, and puts the parts together. Raises what the models raise."""
        loop = asyncio.get_running_loop()
        for model in self._models:
            streaming = [route for route in model.routes if streams(route)]
            if isinstance(model, StreamModel):
                served: Served = await self._opened(model)
            elif streaming:
                raise ConfigError(f"{model.variant}: {streaming[0]} streams, so it takes a StreamModel")
            else:
                served = await loop.run_in_executor(None, self._warm_up, model)
            self._served[served.lane] = served
            line = served.latency.current
            log.info(
                "%s: %.0f µs + %.2f µs per unit of %s",
                *(served.lane, line.base_s * 1e6, line.per_unit_s * 1e6, served.model.unit),
            )
        self._intake = Intake(self._served, clock=self._clock, busy_until_s=lambda: self._loop.busy_until_s)
        self.own_api = OwnApi(self._served, self._intake, boot=self.boot, name=self.name, clock=self._clock)
        self._claimer = Claimer(
            self._served,
            self._intake,
            open_lanes=self._broker.node_lanes if self._broker else None,
            orphans_found=self._orphans_found,
            shares=self._shares,
            clock=self._clock,
        )
        self._loop = NodeLoop(
            self._batches,
            claimer=self._claimer,
            device=self._device,
            filled=self._filled,
            clock=self._clock,
            shares=self._shares,
            trace=None if self._export is None else _trace(self._export, self._clock),
        )
        self._stream_loop = StreamLoop(
            self._streams, claimer=self._claimer, filled=self._stream_filled, clock=self._clock
        )

    def join(self) -> None:
        """Announces itself, claims jobs and runs them."""
        if self._export is not None:
            self._export.start(self._families)
        if self._broker is not None:
            self._registry = self._broker.registry()
            self._membership = Membership(
                self._registry,
                self._intake,
                record=NodeRecord(
                    boot=self.boot,
                    name=self.name,
                    address=self._advertise or self.address,
                    device=self._device.name,
                    lanes=tuple(self._served),
                    claims=(),
                ),
                claims=lambda: self._claimer.allowed,
                allow=self._allow,
                latency=lambda: {lane: served.as_record() for lane, served in self._served.items()},
            )
            self._bystander = Bystander(
                self._batches,
                boot=self.boot,
                claimer=self._claimer,
                intake=self._intake,
                loop=self._loop,
                check_soon=self._membership.check_soon,
            )
            for served in self._served.values():
                served.pace_changed = self._bystander.pace_changed
            self._start_task(self._bystander.run(), "bystander")
            self._start_task(self._membership.run(), "membership")
            self._start_task(self._claimer.run(), "claimer")
        if self._batches:
            self._working.append(self._start_task(self._loop.run(), "node loop"))
        if self._streams:
            self._working.append(self._start_task(self._stream_loop.run(), "stream loop"))
        for lane, served in self._streams.items():
            self._start_task(served.model.watch(), f"watch {lane}")

    async def wait(self) -> None:
        """Until one of its parts has ended: in order when drained, else with what ended it."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    async def drain(self, grace_s: float) -> None:
        """Takes nothing more, answers what it has, says goodbye, and stops; in at most `grace_s`."""
        if self._draining:
            return
        self._draining = True
        log.info("draining")
        deadline_s = self._clock() + grace_s
        if self._bystander is not None:
            self._bystander.leaving = True
        for link in self._intake.links:
            link.drain()
        async with asyncio.TaskGroup() as leaving:  # side by side: each waits a while for a Redis that is silent
            leaving.create_task(self._claimer.close())
            if self._membership is not None:
                leaving.create_task(self._membership.leave())
        await self._intake.fetched(timeout_s=deadline_s - self._clock())
        # Routers that hear of the drain send nothing more; what was on its way is given back by the intake.
        self._intake.leaving = True
        self._loop.leave()
        self._stream_loop.leave()
        await asyncio.wait(self._working, timeout=max(0.0, deadline_s - self._clock()))
        for link in self._intake.links:
            link.finish()
        if self._server is not None:
            await self._server.stop(max(0.0, min(1.0, deadline_s - self._clock())))
        await self.close()

    async def close(self) -> None:
        """Stops at once."""
        await self._links.close()
        if self._server is not None:
            await self._server.stop(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._working:
            await self._stream_loop.close()
        for served in self._streams.values():
            await served.model.close(drain_s=0.0)
        if self._registry is not None:
            await self._registry.close()
        self._device.close()
        if self._served:
            self._intake.close()
        if self._export is not None:
            await self._export.close()

    # What links tell (RouterEvents).

    def submitted(self, link: RouterLink, jobs: Sequence[link_pb2.Job]) -> None:
        self._intake.from_link(link, jobs)

    def cancelled(self, link: RouterLink, jobs: Sequence[int]) -> None:
        self._intake.cancel(link.router, jobs)

    def granted(self, link: RouterLink, job: int, chunks: int) -> None:
        self._intake.grant(link.router, job, chunks)

    def router_gone(self, link: RouterLink) -> None:
        log.info("link of router %s is down", link.name)
        self._intake.link_down(link)

    def node_state(self) -> link_pb2.NodeState:
        staged = [served.staging for served in self._served.values()]
        return link_pb2.NodeState(
            claiming=sorted(self._claimer.allowed),
            backlog_jobs=sum(served.backlog for served in self._served.values()),
            backlog_units=sum(staging.units for staging in staged),
            lanes=[served.as_state() for served in self._served.values()],
            busy_us=int(max(0.0, self._loop.busy_until_s - self._clock()) * 1e6),
        )

    def _families(self) -> Iterator[Family]:
        """What it tells a collector."""
        assert self._export is not None
        yield from node_metrics.families([(self.name, self.node_state())])
        yield self._export.spans.family()

    def _warm_up(self, model: Model) -> BatchServed:
        served = BatchServed.warmed_up(model, device=self._device.name, filled=self._filled, clock=self._clock)
        self._batches[served.lane] = served
        return served

    async def _opened(self, model: StreamModel) -> StreamServed:
        served = await StreamServed.warmed_up(
            model, device=self._device.name, filled=self._stream_filled, clock=self._clock
        )
        self._streams[served.lane] = served
        return served

    async def _serve(self) -> None:
        routes = {route for served in self._served.values() for route in served.routes}
        server = self._server = grpc.aio.server(options=server_options(largest_bytes=0))
        unary = UnaryEdge(self.own_api.serve, clock=self._clock)
        stream = StreamEdge(self.own_api.start, clock=self._clock)
        server.add_generic_rpc_handlers(
            tuple(handlers(routes, lambda route: (stream if streams(route) else unary).handler(route)))
        )
        health = Health(routes)
        health.add_to(server)
        add_reflection(server, routes)
        credentials = server_credentials(self._api_tls, self.api_address, key="the node's own API")
        self.api_address = bind(server, self.api_address, credentials)
        await server.start()
        await health.show(lambda route: True)
        try:
            self.address = await self._links.start(self.address)
        except OSError as error:
            raise ConfigError(f"can't listen at {self.address}: {error.strerror or error}") from error

    async def open_link(self, stream: NodeEnd) -> None:
        """Greets a router, then serves its link until that ends. Raises LinkBroken where it says no Hello."""
        first = await stream.read()
        if first is EOF or not first.HasField("hello"):
            raise LinkBroken("the first message has no Hello")
        hello = first.hello
        welcome = self._welcome(hello)
        await stream.write(link_pb2.NodeFrames(welcome=welcome))
        if welcome.refusal:
            log.warning("refused router %s: %s", hello.name, welcome.refusal)
            return
        # A router that has a link to this node by another address leaves now, and the other link is undisturbed.
        second = await stream.read()
        if second is EOF:
            return
        link = RouterLink(hello, events=self, clock=self._clock)
        self._intake.link_up(link)
        if self._draining:
            link.drain()
        if self._membership is not None:
            self._membership.check_soon()
        log.info("router %s is linked", link.name)
        await link.run(stream, after=second)

    def _welcome(self, hello: link_pb2.Hello) -> link_pb2.Welcome:
        if hello.mesh != self._mesh:
            return link_pb2.Welcome(refusal=f"this node is of mesh {self._mesh!r}, not {hello.mesh!r}")
        chosen = version.agreed(hello.version_min, hello.version_max)
        if chosen is None:
            return link_pb2.Welcome(refusal=version.refusal("the router", hello.version_min, hello.version_max))
        return link_pb2.Welcome(
            version=chosen,
            node=self.boot,
            name=self.name,
            device=self._device.name,
            variants=[served.as_variant() for served in self._served.values()],
            service=self._service,
            host=socket.gethostname(),
        )

    async def _orphans_found(self, orphans: Any) -> bool:
        assert self._membership is not None, "orphans come from lanes, and lanes come with a registry"
        return await self._membership.orphans_found(orphans)

    def _allow(self, lanes: frozenset[str], census: Census) -> None:
        assert self._bystander is not None, "the registry that this comes from is what it is made for"
        self._claimer.siblings = {lane: sum(lane in node.claims for node in census.nodes) for lane in self._served}
        self._claimer.allow(() if self._draining else lanes - self._bystander.counted(census))
        if self._claimer.allowed != self._told:
            self._told = self._claimer.allowed
            for link in self._intake.links:  # before the next ping would
                link.tell_state()

    def _start_task(self, work: Any, name: str) -> asyncio.Task[None]:
        self._tasks.append(asyncio.create_task(work, name=name))
        return self._tasks[-1]


def _trace(export: Export, clock: Clock) -> Trace:
    from isochrone.node.batch_spans import BatchSpans  # with what traces take, where somebody wants them

    return BatchSpans(export.attributes, export=export.spans.add, clock=clock).of
