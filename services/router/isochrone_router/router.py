"""A router process: wires servicer, dispatcher, gate and links, and serves them."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import grpc

from isochrone.answers import AnswerStore
from isochrone.broker import Broker
from isochrone.config import MeshConfig, TelemetryConfig
from isochrone.deadline import Clock, monotonic
from isochrone.errors import ConfigError
from isochrone.keys import TIERS, Queue
from isochrone.link.node_link import NodeLink
from isochrone.link.stream import Dial, dial
from isochrone.link.version import NEWEST, OLDEST
from isochrone.methods import streams
from isochrone.ports import nth
from isochrone.rpc import Health, UnaryEdge, add_reflection, bind, handlers, server_options
from isochrone.server_tls import server_credentials
from isochrone.stream_edge import StreamEdge
from isochrone.tracing import Sampler
from isochrone.v1 import link_pb2
from isochrone_router import readings
from isochrone_router.admin import Admin
from isochrone_router.admin_tls import AdminTls
from isochrone_router.answer_cache import AnswerCache
from isochrone_router.attempts import AttemptBudget
from isochrone_router.callers import Callers
from isochrone_router.chronicle import Chronicle
from isochrone_router.console.server import Console
from isochrone_router.console.siblings import siblings_of
from isochrone_router.dispatch import Dispatcher
from isochrone_router.fallbacks import Fallbacks
from isochrone_router.flight import Flights
from isochrone_router.forecast import Forecast
from isochrone_router.front import FAN_OUT, FAN_OUT_STREAM, SERVICE, Front
from isochrone_router.lane_gate import LaneGate
from isochrone_router.lane_view import LaneView
from isochrone_router.links import Links
from isochrone_router.margin import AnswerMargin
from isochrone_router.past import Tell
from isochrone_router.pressure import BusyTime, Pressure, ThreadBusyTime
from isochrone_router.prices import Prices
from isochrone_router.recent import Recent
from isochrone_router.recent_api import RecentApi
from isochrone_router.record import Records
from isochrone_router.servicer import Servicer
from isochrone_router.session import Sessions, Window
from isochrone_router.status import RouterStatus
from isochrone_router.tally import Tally

if TYPE_CHECKING:
    from isochrone.export import Export
    from isochrone_router.traces import Traces

log = logging.getLogger(__name__)

FIRST_NODE_S = 5.0
"""How long a starting router waits for its first node before it serves all the same."""


class Router:
    """One router process. `start` joins the mesh and serves, `drain` leaves in order."""

    def __init__(
        self,
        config: MeshConfig,
        *,
        broker: Broker | None = None,
        nodes: Sequence[str] = (),
        index: int = 0,
        clock: Clock = monotonic,
        dial: Dial = dial,
        busy: BusyTime | None = None,
        export: Export | None = None,
        answers: AnswerStore | None = None,
        siblings: Path | None = None,
    ) -> None:
        """`answers`: where all routers of the mesh keep last good answers; without it, each does by itself.
        `siblings`: a private folder, where the processes of this router reach each other's admin without TLS."""
        settings = self._settings = config.router
        self.boot = secrets.randbits(63)
        self.name = settings.process_name(index)
        self.address = settings.listen
        self.admin_address = nth(settings.admin, index)
        self._siblings = siblings_of(settings, siblings)
        self._config = config
        self._clock = clock
        self.flights = Flights(settings.limits)
        self._registry = broker.registry() if broker else None
        self._pressure = Pressure(busy or ThreadBusyTime(), clock=clock)
        self.gate = LaneGate(
            broker.router_lanes if broker else None,
            on_change=self._gate_changed,
            on_count=self._counted,
            stall_s=config.redis.stall_ms / 1e3,
            clock=clock,
            pressure=lambda: self._pressure.share,
        )
        self.dispatcher = Dispatcher(
            self.flights,
            gate=self.gate,
            attempts=AttemptBudget(settings.extra_attempts),
            inline_bytes=settings.limits.inline_bytes,
            linger_s=settings.linger_ms / 1e3,
            clock=clock,
        )
        prices = Prices(config.device)
        hello = link_pb2.Hello(
            version_min=OLDEST,
            version_max=NEWEST,
            router=self.boot,
            name=self.name,
            epoch=self.gate.epoch,
            mesh=config.mesh,
        )
        self.links = Links(
            _views(config, prices),
            hello=hello,
            new_link=lambda address, hello: NodeLink(
                address, hello=hello, events=self.dispatcher, clock=clock, dial=dial
            ),
            addresses=[*settings.nodes, *nodes],
            registry=self._registry,
            gate_is_up=lambda: self.gate.is_up,
            lane_closed=self.dispatcher.lane_closed,
        )
        self.dispatcher.use(self.links)
        self._margin = AnswerMargin(settings.answer_margin_ms / 1e3)
        sampler = Sampler(config.telemetry.sample)
        self._export = export
        self.traces = None if export is None else _traces(export, config.telemetry, clock)
        self.recent = Recent(clock=clock)
        self.tally = Tally()
        listeners: list[Tell] = [self.recent, self.tally]
        if self.traces is not None:
            listeners.append(self.traces)
        self.callers = Callers.of(
            config,
            quotas=broker.quotas if broker else None,
            boot=self.boot,
            routers=lambda: max(settings.processes, self.links.routers),
            clock=clock,
        )
        if self.callers is not None:
            listeners.append(self.callers.stats)
        self.chronicle = Chronicle((*config.routes, FAN_OUT, FAN_OUT_STREAM), listeners=listeners, clock=clock)
        self.servicer = Servicer(
            config.routes,
            settings,
            boot=self.boot,
            flights=self.flights,
            dispatcher=self.dispatcher,
            margin=self._margin,
            sampler=sampler,
            chronicle=self.chronicle,
            prices=prices,
            clock=clock,
        )
        self.fallbacks = Fallbacks(
            self.servicer.start,
            config.routes,
            cache=AnswerCache(config.cache, store=answers if config.remembers else None, clock=clock),
            judge=self.chronicle.judge,
            tell=self.chronicle.tell,
            margin_s=lambda: self._margin.margin_s,
            clock=clock,
        )
        gatekeeper = None
        if self.callers is not None:
            gatekeeper = self.callers.stand_before(self.fallbacks.start, refuse=self.servicer.refuse)
        self.front = Front(
            self.fallbacks.start if gatekeeper is None else gatekeeper.start,
            sampler=sampler,
            tell=self.chronicle.tell,
            clock=clock,
            identify=None if gatekeeper is None else gatekeeper.identify,
        )
        self.sessions = Sessions(self.front.start, name=self.name, window=Window(), clock=clock, gatekeeper=gatekeeper)
        self._gatekeeper = gatekeeper
        self._status = RouterStatus(
            mesh=config.mesh,
            name=self.name,
            boot=self.boot,
            started_s=clock(),
            routes=config.routes,
            servicer=self.servicer,
            chronicle=self.chronicle,
            flights=self.flights,
            dispatcher=self.dispatcher,
            gate=self.gate,
            links=self.links,
            sessions=self.sessions,
            callers=self.callers,
            traces=self.traces,
            export=export,
            clock=clock,
        )
        self._health = Health(config.routes)
        self._console: Console | None = None
        self._admin: Admin | None = None
        self._server: grpc.aio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Router {self.name} at {self.address}, {len(self.flights)} requests under way, {self.gate!r}>"

    async def start(self) -> None:
        """Joins and serves. Raises ConfigError where an address is taken or Redis refuses us."""
        await self.join()
        await self._serve()
        recent = RecentApi(
            self.recent,
            Records(self.name, self._config.telemetry.jaeger),
            routes=self.chronicle.stats.keys(),
            clock=self._clock,
        )
        self._console = Console(self._status, self.tally, processes=self._siblings)
        self._console.start()
        self._admin = Admin(
            self._status,
            is_ready=lambda: any(map(self._answers, self._config.routes)),
            more=[*recent.routes(), *self._console.routes()],
        )
        tls = self._settings.admin_tls
        own = next(one.admin for one in self._siblings if one.name == self.name)
        try:
            self.admin_address = await self._admin.start(
                self.admin_address,
                tls=None if tls is None else AdminTls(tls),
                beside=own if own != self.admin_address else None,
            )
        except ConfigError:
            await self.close()
            raise
        except OSError as error:
            await self.close()
            raise ConfigError(f"router.admin: can't listen on {self.admin_address}: {error}") from error

    async def join(self) -> None:
        """Connects to Redis and to the nodes, so that `servicer` can answer. Raises ConfigError."""
        if self._export is not None:
            self._export.start(lambda: readings.of_router(self._status))
        await self.gate.start()
        await self.links.start()
        for work in (self.gate.run(), self.links.run(), self._margin.run(), self._pressure.run(), self._show_health()):
            self._tasks.append(asyncio.create_task(work))
        if self.callers is not None:
            self._tasks += [asyncio.create_task(work) for work in self.callers.work()]
        answers = self.fallbacks.cache.store
        if answers is not None:
            self._tasks.append(asyncio.create_task(answers.run()))
        await self._first_node()

    def read_callers_again(self) -> None:
        """Their file, where there is one."""
        if self.callers is not None:
            self.callers.read_again()

    async def wait(self) -> None:
        """Until one of its parts fails; they don't end by themselves."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def drain(self, grace_s: float) -> None:
        """Shows that it is leaving, answers what it has, and stops; in at most `grace_s`."""
        log.info("draining")
        deadline_s = self._clock() + grace_s
        await self._health.show(lambda route: False)
        assert self._server is not None
        self.sessions.drain()
        # From here on gRPC takes no new connection or call, and tells clients to go elsewhere (GOAWAY).
        await self._server.stop(max(0.0, deadline_s - self._clock()))
        await self.links.leave()
        if self.callers is not None:
            await self.callers.leave()
        await self.close()

    async def close(self) -> None:
        """Stops at once."""
        if self._server is not None:
            await self._server.stop(0)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.links.close()
        self.gate.close()
        self._pressure.close()
        if self.fallbacks.cache.store is not None:
            self.fallbacks.cache.store.close()
        if self._registry is not None:
            await self._registry.close()
        if self.callers is not None:
            await self.callers.close()
        if self._console is not None:
            self._console.close()
        if self._admin is not None:
            await self._admin.close()
        if self.traces is not None:
            self.traces.flush()
        if self._export is not None:
            await self._export.close()

    async def _serve(self) -> None:
        # gRPC would refuse a request one byte over with words of its own; ours name the field.
        limit = 2 * self._settings.limits.request_bytes
        server = self._server = grpc.aio.server(options=server_options(largest_bytes=limit))
        shown = None if self._gatekeeper is None else self._gatekeeper.credentials
        unary = UnaryEdge(self.front.serve, clock=self._clock, credentials=shown)
        stream = StreamEdge(self.front.start, clock=self._clock, credentials=shown)
        own = {
            "FanOut": unary.handler(FAN_OUT),
            "FanOutStream": stream.handler(FAN_OUT_STREAM),
            "Session": self.sessions.handler(),
        }
        routes = handlers(self._config.routes, lambda route: (stream if streams(route) else unary).handler(route))
        server.add_generic_rpc_handlers((*routes, grpc.method_handlers_generic_handler(SERVICE, own)))
        self._health.add_to(server)
        add_reflection(server, self._config.routes, also=(SERVICE,))
        listen = self._settings.listen
        credentials = server_credentials(self._settings.tls, listen, key="router.tls")
        try:
            self.address = bind(server, listen, credentials)
        except RuntimeError as error:
            raise ConfigError(f"router.listen: can't listen on {self._settings.listen}: {error}") from error
        await server.start()

    async def _first_node(self) -> None:
        """Waits a while for a node, so that the first request finds one."""
        try:
            async with asyncio.timeout(FIRST_NODE_S):
                while not all(map(self._serves, self._config.routes)):
                    self.links.changed.clear()
                    await self.links.changed.wait()
        except TimeoutError:
            log.warning("no node yet for some routes; serving all the same")

    async def _show_health(self) -> None:
        while True:
            self.links.changed.clear()
            await self._health.show(self._serves)
            await self.links.changed.wait()

    def _serves(self, route: str) -> bool:
        return any(self.links.views[lane].nodes for lane in self._config.routes[route].all_lanes)

    def _answers(self, route: str) -> bool:
        """Also by what stands in: a router that nobody is sent to answers nobody."""
        return self._serves(route) or bool(self._config.routes[route].fallback)

    def _gate_changed(self) -> None:
        self.dispatcher.gate_changed()

    def _counted(self, queue: Queue, jobs: int) -> None:
        """So many jobs of others wait in a lane."""
        self.links.views[queue.lane].forecast.waiting.others_are(queue.tier, jobs)


def _views(config: MeshConfig, prices: Prices) -> list[LaneView]:
    """Every lane that some route may use."""
    shares = tuple(config.share(tier) for tier in TIERS)
    lanes = dict.fromkeys(lane for route in config.routes.values() for lane in route.all_lanes)
    return [LaneView(lane, Forecast(cost_per_s=prices.of(lane.rpartition("@")[2])[0], shares=shares)) for lane in lanes]


def _traces(export: Export, config: TelemetryConfig, clock: Clock) -> Traces:
    from isochrone_router.request_spans import RequestSpans  # with what traces take, where somebody wants them
    from isochrone_router.traces import Traces

    return Traces(
        RequestSpans(export.attributes), export=export.spans.add, misses_per_s=config.misses_per_s, clock=clock
    )
