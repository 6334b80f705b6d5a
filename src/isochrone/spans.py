"""Spans as OTLP has them on the wire, made afterwards from numbers that are known by then.

The SDK's spans cost some 20 µs each while a request is under way, and as much again to encode (DESIGN.md). These cost
about 4, once it is over: what repeats, like the name of a lane, is encoded once, and a message's fields may be strung
together as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1 import trace_pb2

from isochrone.tracing import SpanContext

INTERNAL = trace_pb2.Span.SPAN_KIND_INTERNAL
SERVER = trace_pb2.Span.SPAN_KIND_SERVER
CONSUMER = trace_pb2.Span.SPAN_KIND_CONSUMER
Value = str | int | float | bool
Kind: TypeAlias = "trace_pb2.Span.SpanKind.ValueType"

_TRACE_FLAGS = 0x100  # says that whether the parent is remote is known
_SAMPLED, _IS_REMOTE = 0x01, 0x200
SCOPE = InstrumentationScope(name="isochrone")


def span(
    name: str,
    context: SpanContext,
    *,
    parent_id: int = 0,
    has_remote_parent: bool = False,
    kind: Kind = INTERNAL,
    start_ns: int,
    end_ns: int,
    attributes: Mapping[str, Value | None],
    error: str | None = None,
    links: Iterable[tuple[bytes, bytes]] = (),
    tracestate: str = "",
) -> bytes:
    """One span, encoded. Attributes that are None are left out. `error` makes it one that failed, and says how.
    `links` are (trace id, span id) of others."""
    made = _Span(
        trace_id=context.trace_id.to_bytes(16),
        span_id=context.span_id.to_bytes(8),
        name=name,
        kind=kind,
        start_time_unix_nano=start_ns,
        end_time_unix_nano=max(start_ns, end_ns),
        flags=_TRACE_FLAGS | (_IS_REMOTE if has_remote_parent else 0) | _SAMPLED,
    )
    if parent_id:
        made.parent_span_id = parent_id.to_bytes(8)
    if tracestate:
        made.trace_state = tracestate
    if error is not None:
        made.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        made.status.message = error
    for trace_id, span_id in links:
        made.links.add(trace_id=trace_id, span_id=span_id)
    parts = [made.SerializeToString()]
    for key, value in attributes.items():
        if value is not None:
            repeats = value.__class__ is str or (value.__class__ is int and 0 <= value < 256)
            parts.append((_attribute if repeats else _fresh_attribute)(key, value))
    return b"".join(parts)


def resource(attributes: Mapping[str, Value]) -> bytes:
    """Who the spans are of, encoded."""
    return Resource(attributes=[key_value(key, value) for key, value in attributes.items()]).SerializeToString()


def export_request(spans: Mapping[bytes, Iterable[bytes]]) -> bytes:
    """An ExportTraceServiceRequest of encoded spans by their encoded resource. Strings bytes together: 1 µs a span."""
    scope = field(1, SCOPE.SerializeToString())
    return b"".join(
        field(1, field(1, owner) + field(2, scope + b"".join(field(2, one) for one in theirs)))
        for owner, theirs in spans.items()
    )


def field(number: int, payload: bytes) -> bytes:
    """A field of a message that has a length: a tag, the length, the bytes."""
    size = len(payload)
    length = bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return bytes((number << 3 | 2,)) + bytes(length) + payload


def key_value(key: str, value: Value) -> KeyValue:
    if isinstance(value, bool):
        return KeyValue(key=key, value=AnyValue(bool_value=value))
    if isinstance(value, int):
        return KeyValue(key=key, value=AnyValue(int_value=value))
    if isinstance(value, float):
        return KeyValue(key=key, value=AnyValue(double_value=value))
    return KeyValue(key=key, value=AnyValue(string_value=value))


@lru_cache(maxsize=256)
def _before_double(key: str) -> bytes:
    """Of an attribute that is a double, all but its eight last bytes: they are the double."""
    return field(_ATTRIBUTES, key_value(key, 1.0).SerializeToString())[:-8]


def _fresh_attribute(key: str, value: Value) -> bytes:
    if isinstance(value, float):
        return _before_double(key) + _as_double(value)
    return field(_ATTRIBUTES, key_value(key, value).SerializeToString())


_attribute = lru_cache(maxsize=4096, typed=True)(_fresh_attribute)
"""Of what comes again and again: a route, a lane, a small number."""
_as_double = struct.Struct("<d").pack
_Span = trace_pb2.Span
_ATTRIBUTES = _Span.DESCRIPTOR.fields_by_name["attributes"].number
