"""Health, readiness, metrics and status over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from isochrone import telemetry as t
from isochrone_router.status import RouterStatus


class Admin:
    """The admin port. GET /healthz: the process runs. /readyz: it can answer. /metrics: Prometheus. /status: JSON."""

    def __init__(
        self, status: RouterStatus, *, is_ready: Callable[[], bool], more: Sequence[web.RouteDef] = ()
    ) -> None:
        """`more` is answered as well."""
        self._status = status
        self._is_ready = is_ready
        self._more = more
        self._registry = CollectorRegistry()
        self._registry.register(_Numbers(status))
        self._runner: web.AppRunner | None = None

    async def start(self, listen: str) -> str:
        """Serves; gives the address with the port that was really taken. Raises OSError where it is in use."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics),
                web.get("/status", self._show_status),
                *self._more,
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        if listen.startswith("unix:"):
            await web.UnixSite(self._runner, listen.removeprefix("unix:")).start()
            return listen
        host, _, port = listen.rpartition(":")
        await web.TCPSite(self._runner, host.strip("[]"), int(port)).start()
        return f"{host}:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        ready = self._is_ready()
        return web.Response(text="ready\n" if ready else "no route has a node\n", status=200 if ready else 503)

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _show_status(self, _: web.Request) -> web.Response:
        return web.json_response(self._status.as_json())


class _Numbers(Collector):
    """The plain numbers of the router, as Prometheus wants them, made when it asks."""

    def __init__(self, status: RouterStatus) -> None:
        self._status = status

    def describe(self) -> Iterable[Metric]:
        return ()  # nothing is collected at registration

    def collect(self) -> Iterator[Metric]:
        status = self._status
        requests, met, stages, attempts = (_counter(i) for i in (t.REQUESTS, t.MET, t.STAGE, t.ATTEMPTS))
        durations, batches = (_histogram(i) for i in (t.DURATION, t.BATCH_JOBS))
        for route, stats in status.chronicle.stats.items():
            for code, count in stats.outcomes.items():
                requests.add_metric([route, code], count)
            met.add_metric([route], stats.met)
            for stage, spent_us in zip(t.STAGES, stats.stage_us, strict=True):
                stages.add_metric([route, stage], spent_us / 1e6)
            for number, count in stats.attempts.items():
                attempts.add_metric([route, str(number)], count)
            durations.add_metric([route], *_buckets(stats.durations))
            batches.add_metric([route], *_buckets(stats.batch_jobs))
        yield from (requests, met, stages, attempts, durations, batches)
        yield _gauge(t.INFLIGHT, [((), len(status.flights))])
        yield _gauge(t.INFLIGHT_BYTES, [((), status.flights.bytes)])
        yield _gauge(t.REDIS_UP, [((), float(status.gate.is_up))])
        views = status.dispatcher.views.values()
        yield _gauge(t.LANE_DEPTH, [((view.lane,), view.depth) for view in views])
        yield _gauge(t.LANE_OPEN, [((view.lane,), float(view.is_open)) for view in views])
        yield _gauge(t.LANE_BACKLOG, [((view.lane,), status.backlog_s(view)) for view in views])
        yield _gauge(t.NODES, [((state,), count) for state, count in status.node_states().items()])
        yield _counter(t.RESENT, status.dispatcher.resent)
        yield _counter(t.UNAFFORDABLE, status.dispatcher.unaffordable)
        node_batches, node_jobs = _counter(t.NODE_BATCHES), _counter(t.NODE_JOBS)
        for link in status.links.links.values():
            for lane in link.report.lanes:
                node_batches.add_metric([link.name, lane.lane], lane.batches)
                node_jobs.add_metric([link.name, lane.lane], lane.jobs)
        yield from (node_batches, node_jobs)


def _counter(instrument: t.Instrument, value: float | None = None) -> CounterMetricFamily:
    return CounterMetricFamily(
        instrument.name, instrument.description, value=value, labels=instrument.labels if value is None else None
    )


def _histogram(instrument: t.Instrument) -> HistogramMetricFamily:
    return HistogramMetricFamily(instrument.name, instrument.description, labels=instrument.labels)


def _gauge(instrument: t.Instrument, values: Iterable[tuple[tuple[str, ...], float]]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(instrument.name, instrument.description, labels=instrument.labels)
    for labels, value in values:
        family.add_metric(list(labels), value)
    return family


def _buckets(histogram: t.Histogram) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, as Prometheus has them, and the sum."""
    seen, buckets = 0, []
    for bound, count in zip((*histogram.bounds, None), histogram.counts, strict=True):
        seen += count
        buckets.append(("+Inf" if bound is None else str(bound), float(seen)))
    return buckets, histogram.sum
