"""What a request's own span says of what was decided about it."""

from __future__ import annotations

from typing import Any

from opentelemetry.proto.trace.v1 import trace_pb2

from isochrone.tracing import Sampler
from isochrone.v1 import budget_pb2
from isochrone_router.past import Past
from isochrone_router.request_spans import RequestSpans

PLANNED = budget_pb2.Decision(why="cheapest", expected_us=3100, quantile_us=6000, cost=4.2e-7, target=0.999)
REFUSED = budget_pb2.Decision(why="OVERLOAD", expected_us=23_000, retry_after_us=8000)


def told(code: str = "OK", reason: str = "", **report: Any) -> dict[str, Any]:
    """The attributes of its span, but for those of every request."""
    past = Past("shop.v1.Search/Rank", code, reason, 1.0, budget_pb2.BudgetReport(**report), Sampler(1).place())
    owned, *_ = RequestSpans({}).of(past, offset_ns=0, forced=False)
    pairs = trace_pb2.Span.FromString(owned.span).attributes
    found = {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}
    return {key: value for key, value in found.items() if key.startswith(("isochrone.plan", "isochrone.cost"))}


def test_where_it_was_sent_and_what_was_expected_of_that() -> None:
    """Milliseconds, and the cost of its answer."""
    assert told(decision=PLANNED, attempts=1) == {
        "isochrone.plan.why": "cheapest",
        "isochrone.plan.expected_ms": 3.1,
        "isochrone.plan.quantile_ms": 6.0,
        "isochrone.cost": 4.2e-7,
    }


def test_why_it_was_refused_and_when_to_come_back() -> None:
    """It cost nothing, and nothing says that it did."""
    assert told("RESOURCE_EXHAUSTED", "OVERLOAD", decision=REFUSED) == {
        "isochrone.plan.why": "OVERLOAD",
        "isochrone.plan.expected_ms": 23.0,
        "isochrone.plan.retry_after_ms": 8.0,
    }


def test_nobody_planned_a_fan_out() -> None:
    """Its legs were."""
    assert told() == {}
