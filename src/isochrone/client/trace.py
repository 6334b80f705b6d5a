"""The caller's place in its trace, as W3C Trace Context has it, where the caller is traced by OpenTelemetry."""

from __future__ import annotations

import sys
from typing import NamedTuple


class TraceContext(NamedTuple):
    """Empty where there is no span, or none that another process could go on from."""

    traceparent: str = ""
    tracestate: str = ""


_NOWHERE = TraceContext()


def trace_context() -> TraceContext:
    """Of the current span. OpenTelemetry is never imported for it: who hasn't done so has no span."""
    api = sys.modules.get("opentelemetry.trace")
    current_span = getattr(api, "get_current_span", None)
    if current_span is None or not current_span().get_span_context().is_valid:
        return _NOWHERE
    from opentelemetry.propagate import inject

    carrier: dict[str, str] = {}
    inject(carrier)
    return TraceContext(carrier.get("traceparent", ""), carrier.get("tracestate", ""))
