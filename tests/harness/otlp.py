"""A real OTLP receiver: what a collector's gRPC port is to the mesh, with everything it was sent to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import grpc.aio
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from isochrone.otlp import METRICS, TRACES

_ANSWERS = {
    TRACES: trace_service_pb2.ExportTraceServiceResponse(),
    METRICS: metrics_service_pb2.ExportMetricsServiceResponse(),
}
_REQUESTS = {
    TRACES: trace_service_pb2.ExportTraceServiceRequest,
    METRICS: metrics_service_pb2.ExportMetricsServiceRequest,
}


@dataclass(frozen=True)
class Span:
    """A span as it came in."""

    proto: trace_pb2.Span
    resource: dict[str, Any]

    @property
    def name(self) -> str:
        return self.proto.name

    @property
    def service(self) -> str:
        return str(self.resource["service.name"])

    @property
    def trace(self) -> str:
        return self.proto.trace_id.hex()

    @property
    def id(self) -> bytes:
        return self.proto.span_id

    @property
    def parent(self) -> bytes:
        return self.proto.parent_span_id

    @property
    def attributes(self) -> dict[str, Any]:
        return _attributes(self.proto.attributes)

    @property
    def links(self) -> set[bytes]:
        """Ids of the spans that it links to."""
        return {link.span_id for link in self.proto.links}

    @property
    def ms(self) -> float:
        return (self.proto.end_time_unix_nano - self.proto.start_time_unix_nano) / 1e6

    def lies_in(self, other: Span) -> bool:
        """Whether its time is part of the other's."""
        ours, theirs = self.proto, other.proto
        return (
            theirs.start_time_unix_nano <= ours.start_time_unix_nano
            and ours.end_time_unix_nano <= theirs.end_time_unix_nano
        )


class Tree(NamedTuple):
    """The spans of one trace."""

    spans: list[Span]

    @property
    def root(self) -> Span:
        """The one whose parent isn't here."""
        ids = {span.id for span in self.spans}
        roots = [span for span in self.spans if span.parent not in ids]
        assert len(roots) == 1, f"{len(roots)} roots: {[span.name for span in roots]}"
        return roots[0]

    def below(self, span: Span) -> list[Span]:
        """Its children, by when they began; of those that took no time, in the order in which they ended."""
        return sorted(
            (other for other in self.spans if other.parent == span.id),
            key=lambda other: (other.proto.start_time_unix_nano, other.proto.end_time_unix_nano),
        )

    def named(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found


class Receiver(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs alone
    """Takes traces and metrics at a port of its own; while `silent`, it answers nobody."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.metrics: list[metrics_service_pb2.ExportMetricsServiceRequest] = []
        self.messages = 0
        self.silent = False
        self._news = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """At the same port as before, where it has been started before."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self._server.add_generic_rpc_handlers((self,))
        self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
        await self._server.start()

    async def close(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def service(self, handler_call_details: Any) -> Any:
        kind = handler_call_details.method

        async def export(message: bytes, _: Any) -> bytes:
            self.messages += 1
            while self.silent:
                await asyncio.sleep(0.05)
            self._take(_REQUESTS[kind].FromString(message))
            return _ANSWERS[kind].SerializeToString()

        return grpc.unary_unary_rpc_method_handler(export) if kind in _ANSWERS else None

    def trees(self) -> dict[str, Tree]:
        """By trace id."""
        found: dict[str, Tree] = {}
        for span in self.spans:
            found.setdefault(span.trace, Tree([])).spans.append(span)
        return found

    async def until(self, so: Callable[[], Any], *, within_s: float = 20) -> Any:
        """Waits until what came in makes it so, and gives what `so` gave."""
        try:
            async with asyncio.timeout(within_s):
                while not (what := so()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            names = sorted({span.name for span in self.spans})
            raise AssertionError(f"not so within {within_s:g} s, of {len(self.spans)} spans: {names}") from None
        return what

    def _take(self, message: Any) -> None:
        if isinstance(message, metrics_service_pb2.ExportMetricsServiceRequest):
            self.metrics.append(message)
        else:
            for owned in message.resource_spans:
                resource = _attributes(owned.resource.attributes)
                for scoped in owned.scope_spans:
                    self.spans += [Span(span, resource) for span in scoped.spans]
        self._news.set()


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
