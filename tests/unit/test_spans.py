"""Spans as bytes: what a collector reads of them is what was said."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2

from isochrone.spans import SERVER, Value, export_request, resource, span
from isochrone.tracing import SpanContext

CONTEXT = SpanContext(2**127 + 5, 7, True)
values = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=300))
attributes = st.dictionaries(st.text(min_size=1, max_size=20), st.one_of(st.none(), values), max_size=6)


def made(**changes: Any) -> trace_pb2.Span:
    told: dict[str, Any] = {"start_ns": 1_000, "end_ns": 2_000, "attributes": {}}
    return trace_pb2.Span.FromString(span("compute", CONTEXT, **(told | changes)))


def read(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


@given(attributes)
def test_attributes_are_read_as_they_were_said(said: dict[str, Value | None]) -> None:
    """Of every type, and those that are None left out; True is not 1, whatever was said before."""
    found = read(made(attributes=said).attributes)
    assert found == {key: value for key, value in said.items() if value is not None}
    assert {key: type(value) for key, value in found.items()} == {key: type(said[key]) for key in found}


def test_a_span_has_its_place_and_its_time() -> None:
    """Its own ids, its parent's, its kind, and an end that is not before its beginning."""
    one = made(parent_id=9, has_remote_parent=True, kind=SERVER, end_ns=10, tracestate="a=b")
    assert (one.trace_id, one.span_id) == (CONTEXT.trace_id.to_bytes(16), CONTEXT.span_id.to_bytes(8))
    assert (one.parent_span_id, one.kind, one.trace_state) == ((9).to_bytes(8), SERVER, "a=b")
    assert (one.start_time_unix_nano, one.end_time_unix_nano) == (1_000, 1_000)
    assert one.flags & 0x01
    assert one.flags & trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK
    assert made().parent_span_id == b""


def test_one_that_failed_says_how() -> None:
    """As its status; others have none."""
    assert (made(error="QUEUE_FULL").status.code, made(error="QUEUE_FULL").status.message) == (2, "QUEUE_FULL")
    assert not made().HasField("status")


def test_links_are_as_many_as_there_are() -> None:
    """The SDK would keep 128."""
    links = [(bytes(15) + b"1", number.to_bytes(8)) for number in range(1, 301)]
    assert [(link.trace_id, link.span_id) for link in made(links=links).links] == links


def test_a_message_has_each_resource_with_its_spans() -> None:
    """Strung together from bytes, whatever their length."""
    router, node = resource({"service.name": "isochrone-router"}), resource({"service.name": "isochrone-recsys"})
    one = span("a", CONTEXT, start_ns=1, end_ns=2, attributes={"text": "x" * 20_000})
    two = span("b", CONTEXT, start_ns=1, end_ns=2, attributes={})
    message = ExportTraceServiceRequest.FromString(export_request({router: [one, two], node: [two]}))
    found = {
        read(owned.resource.attributes)["service.name"]: [each.name for each in owned.scope_spans[0].spans]
        for owned in message.resource_spans
    }
    assert found == {"isochrone-router": ["a", "b"], "isochrone-recsys": ["b"]}
