"""A span for each batch that somebody traces a member of, with a link to each of its members."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from isochrone import wall
from isochrone.deadline import Clock
from isochrone.node.staging import Ran, StagedJob
from isochrone.spans import CONSUMER, Value, resource, span
from isochrone.tracing import SpanContext, new_span_id, new_trace_id, parse

_ODD = frozenset("13579bdf")
"""Last digits of a traceparent whose lowest flag, sampled, is set."""


class BatchSpans:
    """Made after the forward and before its replies, so that these can name them."""

    def __init__(self, own: Mapping[str, Value], *, export: Callable[[bytes, bytes], None], clock: Clock) -> None:
        """`own`: this node's resource attributes. `export` takes a resource and a span of it, both encoded."""
        self._own = resource(own)
        self._export = export
        self._clock = clock

    def of(self, ran: Ran, jobs: Sequence[StagedJob]) -> SpanContext | None:
        """Where none of its members is traced, neither is the batch."""
        if not any(job.traceparent[-1:] in _ODD for job in jobs):
            return None
        members = list(filter(None, (parse(job.traceparent) for job in jobs)))
        context = SpanContext(new_trace_id(), new_span_id(), True)
        start_ns = int(ran.started_s * 1e9) + wall.offset_ns(self._clock)
        self._export(
            self._own,
            span(
                f"batch {ran.lane}",
                context,
                kind=CONSUMER,
                start_ns=start_ns,
                end_ns=start_ns + int(ran.compute_s * 1e9),
                attributes={
                    "messaging.operation.name": "process",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": ran.lane,
                    "messaging.batch.message_count": ran.jobs,
                    "isochrone.batch.units": ran.units,
                    "isochrone.batch.closed_by": ran.closed_by,
                },
                links=[
                    (member.trace_id.to_bytes(16), member.span_id.to_bytes(8))
                    for member in members
                    if member is not None
                ],
            ),
        )
        return context
