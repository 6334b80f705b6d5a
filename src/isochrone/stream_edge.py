"""The gRPC edge of methods whose answers stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from isochrone.deadline import Clock
from isochrone.errors import IsochroneError
from isochrone.incidents import incident
from isochrone.rpc import BUDGET_METADATA, Context, ReadCredentials, call_of, fail
from isochrone.starting import Ended, Start, streamed
from isochrone.tracing import trace_id_of


class StreamEdge:
    """Serves routes that are known by name only: requests and chunks pass as bytes.

    A chunk counts as taken once gRPC has it, and gRPC takes no more than its flow control lets it: so a caller that
    reads nothing holds up its own stream, and nothing is piled up here.
    """

    def __init__(self, start: Start, *, clock: Clock, credentials: ReadCredentials | None = None) -> None:
        """As UnaryEdge."""
        self._start = start
        self._credentials = credentials
        self._clock = clock

    def handler(self, route: str) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of one method."""
        return grpc.unary_stream_rpc_method_handler(self._method(route))

    def _method(self, route: str) -> Callable[[bytes, Context], AsyncIterator[bytes]]:
        async def method(request: bytes, context: Context) -> AsyncIterator[bytes]:
            def ended(what: Ended) -> None:
                context.set_trailing_metadata(((BUDGET_METADATA, what.budget.SerializeToString()),))

            call = call_of(route, request, context, now_s=self._clock(), credentials=self._credentials)
            try:
                async for chunk in streamed(self._start, call, ended):
                    yield chunk
            except IsochroneError as error:
                fail(context, error)
            except Exception as error:
                fail(context, incident(route, error, trace_id=trace_id_of(call.traceparent)))

        return method
