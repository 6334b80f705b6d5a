"""Sends what is told of requests to an OpenTelemetry collector, by OTLP over gRPC, beside everything else.

A collector that is slow, dead or was never there costs no request anything: what it doesn't take waits in a queue of a
fixed size, and what doesn't fit there is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import defaultdict, deque
from collections.abc import Mapping
from contextlib import suppress
from itertools import islice
from urllib.parse import unquote, urlsplit

import grpc
import grpc.aio

from isochrone import metrics, wall
from isochrone.spans import export_request
from isochrone.telemetry import SPANS, Family, Read

log = logging.getLogger(__name__)

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
QUEUE_SPANS = 8192
"""That wait to be sent; some 3 MB."""
BATCH_SPANS = 256
"""In one message: so many are strung together in a fraction of a millisecond."""
GATHER_S = 0.5
TIMEOUT_S = 10.0
BACKOFF_FIRST_S, BACKOFF_MOST_S = 0.5, 30.0
LAST_WORDS_S = 1.0
"""What a process that leaves has for spans that wait, and for its last numbers."""
# https://opentelemetry.io/docs/specs/otlp/#failures
_TRANSIENT = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    }
)


class NotTaken(Exception):
    """The collector didn't take a message. `may_retry`: it may yet."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        super().__init__(f"{error.code().name}: {error.details()}")
        self.may_retry = error.code() in _TRANSIENT


class Collector:
    """A connection to a collector's gRPC port."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint`: "http://collector:4317", or https:// with the system's trust; headers as the environment's
        OTEL_EXPORTER_OTLP_HEADERS has them."""
        self.endpoint = endpoint
        at = urlsplit(endpoint)
        target = f"{at.hostname}:{at.port or 4317}"
        if at.scheme == "https":
            self._channel = grpc.aio.secure_channel(target, grpc.ssl_channel_credentials())
        else:
            self._channel = grpc.aio.insecure_channel(target)
        self._headers = _headers(os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", ""))

    def __repr__(self) -> str:
        return f"<Collector {self.endpoint}>"

    async def send(self, method: str, message: bytes) -> None:
        """Raises NotTaken."""
        call = self._channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        try:
            await call(message, timeout=TIMEOUT_S, metadata=self._headers)
        except grpc.aio.AioRpcError as error:
            raise NotTaken(error) from None

    async def close(self) -> None:
        await self._channel.close(None)


class SpanExporter:
    """Spans on their way to the collector. `run` sends; `close` gives those that wait a last chance."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._filled = asyncio.Event()
        self._sending: list[tuple[bytes, bytes]] = []
        self.sent = 0
        """Spans that the collector has taken."""
        self.dropped = 0
        """Spans that found no room, or that it refused for good."""

    def __repr__(self) -> str:
        return f"<SpanExporter {self.sent} sent, {self.dropped} dropped, {len(self._waiting)} waiting>"

    def family(self) -> Family:
        return Family(SPANS, ((("exported",), self.sent), (("dropped",), self.dropped)))

    def add(self, owner: bytes, span: bytes) -> None:
        """One span, encoded, of a resource, encoded."""
        if len(self._waiting) >= QUEUE_SPANS:
            self.dropped += 1
            return
        self._waiting.append((owner, span))
        self._filled.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._filled.clear()
            if not self._waiting:
                await self._filled.wait()
                await asyncio.sleep(GATHER_S)
            await self._send_some()

    async def close(self) -> None:
        """Once `run` has been cancelled."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                while self._sending or self._waiting:
                    self._take_some()
                    await self._collector.send(TRACES, _request(self._sending))
                    self.sent += len(self._sending)
                    self._sending = []
        except (TimeoutError, NotTaken):
            self.dropped += len(self._sending) + len(self._waiting)

    async def _send_some(self) -> None:
        """One message, as often as it takes."""
        self._take_some()
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                await self._collector.send(TRACES, _request(self._sending))
            except NotTaken as error:
                if not error.may_retry:
                    log.warning("%r refused %d spans: %s", self._collector, len(self._sending), error)
                    self.dropped += len(self._sending)
                    break
                if wait_s == BACKOFF_FIRST_S:
                    log.info("%r takes no spans now: %s", self._collector, error)
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, BACKOFF_MOST_S)
            else:
                self.sent += len(self._sending)
                break
        self._sending = []

    def _take_some(self) -> None:
        if not self._sending:
            self._sending = list(islice(self._waiting, BATCH_SPANS))
            for _ in self._sending:
                self._waiting.popleft()


class MetricExporter:
    """All that a process counts, sent to the collector now and then. What one doesn't take is in the next: the counts
    are since the process started."""

    def __init__(self, collector: Collector, owner: bytes, read: Read, *, every_s: float) -> None:
        """`owner` is the resource, encoded."""
        self._collector = collector
        self._owner = owner
        self._read = read
        self._every_s = every_s
        self._start_ns = wall.now_ns()
        self._is_heard = True

    def __repr__(self) -> str:
        return f"<MetricExporter to {self._collector!r} every {self._every_s:g} s>"

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self._send()
            except NotTaken as error:
                if self._is_heard:
                    log.info("%r takes no metrics now: %s", self._collector, error)
                self._is_heard = False
            else:
                self._is_heard = True

    async def close(self) -> None:
        """Once `run` has been cancelled."""
        with suppress(TimeoutError, NotTaken):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._send()

    async def _send(self) -> None:
        now_ns = max(self._start_ns, wall.now_ns())
        message = await metrics.export_request(self._owner, self._read(), start_ns=self._start_ns, now_ns=now_ns)
        await self._collector.send(METRICS, message)


def _request(spans: list[tuple[bytes, bytes]]) -> bytes:
    by_owner: Mapping[bytes, list[bytes]] = defaultdict(list)
    for owner, span in spans:
        by_owner[owner].append(span)
    return export_request(by_owner)


def _headers(text: str) -> tuple[tuple[str, str], ...]:
    """Of "key=value,key=value", values percent-encoded."""
    pairs = (part.partition("=") for part in text.split(",") if "=" in part)
    return tuple((key.strip().lower(), unquote(value.strip())) for key, _, value in pairs)
