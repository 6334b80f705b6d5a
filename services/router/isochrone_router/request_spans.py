"""A request that is over as spans: one tree, from its arrival to its answer, the node's part under the node's name.

    isochrone.v1.Recsys/Rank       the router, SERVER; below the caller's span
    ├─ plan                        the router
    ├─ queue                       the router: in the lane, or on its way over the link
    ├─ batch wait                  the node
    ├─ compute                     the node; links to its batch's own span
    │  ├─ first token              where the answer streams
    │  └─ decode
    ├─ reply                       the router: the way back over the link
    └─ answer                      the router

What was sent twice has an `attempt` for each that was given up, and one for that which answered, above its stages.
A fan-out's own span has one below it for each leg, and those have the stages. A request that another route was to
stand in for has that one's below it, `leg fallback`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from isochrone.ledger import stage_name
from isochrone.spans import INTERNAL, SERVER, Kind, Value, resource, span
from isochrone.tracing import SpanContext, new_span_id
from isochrone.v1 import budget_pb2, link_pb2
from isochrone_router.past import Past

# The router's, but for the node's two. What each is called, in the order of BudgetReport.stage_us.
_STAGES = ("plan", "queue", "batch wait", "compute", "reply", "answer")
_QUEUE, _BATCH_WAIT, _COMPUTE = 1, 2, 3
_ON_NODE = (_BATCH_WAIT, _COMPUTE)
_TOKENS = "tokens"


class Owned(NamedTuple):
    """A span, encoded, and the resource that it is of, encoded."""

    owner: bytes
    span: bytes


class RequestSpans:
    """Makes the spans of requests that this router has answered."""

    def __init__(self, own: Mapping[str, Value]) -> None:
        """`own`: the router's resource attributes. A node's has the same mesh."""
        self._router = resource(own)
        self._mesh = own.get("isochrone.mesh", "")
        self._nodes: dict[int, bytes] = {}

    def of(self, past: Past, *, offset_ns: int, forced: bool) -> Iterator[Owned]:
        """All of one tree. `offset_ns` takes this process's clock to the time of day; `forced`: nobody sampled it, it
        is told because it went wrong."""
        yield from self._request(past, offset_ns, forced, kind=SERVER)

    def _request(self, past: Past, offset_ns: int, forced: bool, kind: Kind) -> Iterator[Owned]:
        report, context = past.report, _sampled(past.place.span)
        start_ns = int(past.received_s * 1e9) + offset_ns
        end_ns = start_ns + report.total_us * 1000
        yield Owned(
            self._router,
            span(
                f"leg {past.leg}" if past.leg else past.route,
                context,
                parent_id=past.place.parent_id,
                has_remote_parent=kind == SERVER,
                kind=kind,
                start_ns=start_ns,
                end_ns=end_ns,
                attributes=_of_request(past, forced),
                error=None if past.code in ("OK", "CANCELLED") else past.reason or past.code,
                tracestate=past.place.tracestate,
            ),
        )
        for leg in past.legs:
            yield from self._request(leg, offset_ns, forced, kind=INTERNAL)
        if report.stage_us:
            yield from self._stages(past, start_ns, offset_ns)

    def _stages(self, past: Past, start_ns: int, offset_ns: int) -> Iterator[Owned]:
        report, context = past.report, past.place.span
        below = context
        if past.tries:
            for number, given_up in enumerate(past.tries, 1):
                told: dict[str, Value | None] = {
                    "isochrone.attempt": number,
                    "isochrone.node": given_up.node or None,
                    "isochrone.given_up": given_up.why,
                }
                began_ns, ended_ns = (int(s * 1e9) + offset_ns for s in (given_up.sent_s, given_up.ended_s))
                yield self._child("attempt", context, began_ns, ended_ns, told)
            below = _new(context)
            last_ns = int(past.tries[-1].ended_s * 1e9) + offset_ns
            told = {"isochrone.attempt": len(past.tries) + 1, "isochrone.node": report.node}
            ended_ns = start_ns + report.total_us * 1000
            yield self._child("attempt", context, last_ns, ended_ns, told, as_context=below)
        left_us = report.deadline_us
        began_ns = start_ns
        for stage, spent_us in enumerate(report.stage_us[: _reached(past) + 1]):
            ended_ns = began_ns + spent_us * 1000
            yield from self._stage(past, stage, below if stage else context, began_ns, ended_ns, left_us)
            began_ns, left_us = ended_ns, max(0, left_us - spent_us)

    def _stage(
        self, past: Past, stage: int, parent: SpanContext, began_ns: int, ended_ns: int, left_us: int
    ) -> Iterator[Owned]:
        report = past.report
        told: dict[str, Value | None] = {"isochrone.left_ms": left_us / 1e3}
        links = []
        if stage == _QUEUE:
            told["messaging.destination.name"] = report.lane
            told["messaging.system"] = None if report.direct else "redis"
            told["isochrone.direct"] = report.direct
            told["isochrone.predicted_ms"] = past.predicted_us / 1e3 if past.predicted_us else None
        elif stage == _COMPUTE and report.HasField("batch"):
            batch = report.batch
            told["messaging.batch.message_count"] = batch.jobs
            told["isochrone.batch.units"] = batch.units
            told["isochrone.batch.closed_by"] = batch.closed_by
            if batch.span_id:
                links.append((batch.trace_id, batch.span_id))
        owner = self._node(past.peer) if stage in _ON_NODE and past.peer is not None else self._router
        own = _new(parent)
        yield self._child(_STAGES[stage], parent, began_ns, ended_ns, told, as_context=own, owner=owner, links=links)
        if stage == _COMPUTE and report.first_us:
            first_ns = max(began_ns, min(ended_ns, began_ns + (report.first_us - _before(report)) * 1000))
            yield self._child("first token", own, began_ns, first_ns, {}, owner=owner)
            yield self._child("decode", own, first_ns, ended_ns, {"isochrone.chunks": report.chunks}, owner=owner)

    def _child(
        self,
        name: str,
        parent: SpanContext,
        start_ns: int,
        end_ns: int,
        told: Mapping[str, Value | None],
        *,
        as_context: SpanContext | None = None,
        owner: bytes = b"",
        links: list[tuple[bytes, bytes]] | None = None,
    ) -> Owned:
        made = span(
            name,
            as_context or _new(parent),
            parent_id=parent.span_id,
            start_ns=start_ns,
            end_ns=end_ns,
            attributes=told,
            links=links or (),
        )
        return Owned(owner or self._router, made)

    def _node(self, peer: link_pb2.Welcome) -> bytes:
        """A node's resource, as it introduced itself."""
        known = self._nodes.get(peer.node)
        if known is None:
            if len(self._nodes) > 1024:  # of nodes that came and went
                self._nodes.clear()
            told = {
                "service.name": peer.service or "isochrone-node",
                "service.instance.id": peer.name,
                "host.name": peer.host,
                "isochrone.mesh": self._mesh,
                "isochrone.device": peer.device,
            }
            known = self._nodes[peer.node] = resource({key: value for key, value in told.items() if value})
        return known


def _of_request(past: Past, forced: bool) -> dict[str, Value | None]:
    report = past.report
    variant, _, device = report.lane.partition("@")
    told: dict[str, Value | None] = {
        "rpc.system.name": "grpc",
        "rpc.method": past.route,
        "rpc.response.status_code": past.code,
        "error.type": None if past.code in ("OK", "CANCELLED") else past.reason or past.code,
        "isochrone.verdict": past.verdict,
        "isochrone.objective_ms": report.objective_us / 1e3,
        "isochrone.deadline_ms": report.deadline_us / 1e3,
        "isochrone.tier": report.tier,
        "isochrone.caller": report.caller,
        "isochrone.blame": stage_name(report.blame) if report.blame else None,
        "isochrone.lane": report.lane or None,
        "isochrone.variant": variant or None,
        "isochrone.device": device or None,
        "isochrone.node": report.node or None,
        "isochrone.attempts": report.attempts or None,
        "isochrone.won": report.won or None,
        "isochrone.units": report.units or None,
        "isochrone.forced": forced or None,
    }
    if past.peer is not None and _unit(past.peer, report.lane) == _TOKENS:
        told["gen_ai.operation.name"] = "text_completion"
        told["gen_ai.provider.name"] = "isochrone"
        told["gen_ai.request.model"] = variant
        told["gen_ai.usage.output_tokens"] = report.units or None
    if report.HasField("decision"):
        told |= _of_decision(report.decision)
    if past.is_fallback:
        fallback = report.fallback
        told["isochrone.fallback.source"] = fallback.source
        told["isochrone.fallback.route"] = fallback.route or None
        told["isochrone.fallback.age_ms"] = fallback.age_ms if fallback.source == "last_good" else None
        told["isochrone.fallback.reason"] = fallback.reason
    return told


def _of_decision(decision: budget_pb2.Decision) -> dict[str, Value | None]:
    """What was planned, or why it was refused."""
    return {
        "isochrone.plan.why": decision.why or None,
        "isochrone.plan.expected_ms": decision.expected_us / 1e3 or None,
        "isochrone.plan.quantile_ms": decision.quantile_us / 1e3 or None,
        "isochrone.plan.retry_after_ms": decision.retry_after_us / 1e3 or None,
        "isochrone.plan.held_ms": decision.held_us / 1e3 or None,
        "isochrone.cost": decision.cost or None,
        "isochrone.energy_j": decision.joules or None,
    }


def _unit(peer: link_pb2.Welcome, lane: str) -> str:
    return next((variant.unit for variant in peer.variants if variant.lane == lane), "")


def _reached(past: Past) -> int:
    """The last stage that there was any of."""
    if past.code == "OK":
        return len(_STAGES) - 1
    return max((stage for stage, us in enumerate(past.report.stage_us) if us), default=0)


def _before(report: budget_pb2.BudgetReport) -> int:
    """Microseconds before its forward began."""
    return sum(report.stage_us[:_COMPUTE])


def _sampled(context: SpanContext) -> SpanContext:
    return context._replace(is_sampled=True)


def _new(parent: SpanContext) -> SpanContext:
    return SpanContext(parent.trace_id, new_span_id(), True)
