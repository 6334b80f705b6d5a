"""A request that is over as JSON has it: what the admin port tells consoles and commands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from isochrone.ledger import stage_name, stages
from isochrone.v1 import budget_pb2
from isochrone_router.past import Past


@dataclass(frozen=True, slots=True)
class Records:
    """Makes records of the requests of one router process."""

    router: str
    """Its name."""
    jaeger: str | None = None
    """Where people look at traces, if there is such a place."""

    def of(self, past: Past, *, whole: Past, offset_ns: int) -> dict[str, Any]:
        """One request with its legs; `whole`: the fan-out that it was a leg of, else itself. `offset_ns` takes this
        process's clock to the time of day."""
        report = past.report
        trace_id = f"{past.place.span.trace_id:032x}"
        is_traced = whole.place.span.is_sampled or not whole.is_in_order
        return {
            "trace_id": trace_id,
            "route": past.route,
            "leg": past.leg,
            "code": past.code,
            "reason": past.reason,
            "verdict": past.verdict,
            "at": _time_of_day(int(past.received_s * 1e9) + offset_ns),
            "tier": report.tier,
            "caller": report.caller,
            "router": self.router,
            "objective_ms": report.objective_us / 1e3,
            "deadline_ms": report.deadline_us / 1e3,
            "total_ms": report.total_us / 1e3,
            "first_ms": report.first_us / 1e3 if report.first_us else None,
            "blame": stage_name(report.blame) if report.blame else None,
            "stages": [[stage, spent_us / 1e3] for stage, spent_us in stages(report)],
            "lane": report.lane,
            "node": report.node,
            "attempts": report.attempts,
            "won": report.won or None,
            "direct": report.direct,
            "decision": _decision(report.decision) if report.HasField("decision") else None,
            "batch": {
                "jobs": report.batch.jobs,
                "units": report.batch.units,
                "closed_by": report.batch.closed_by,
            }
            if report.HasField("batch")
            else None,
            "units": report.units,
            "chunks": report.chunks,
            "fallback": {
                "source": report.fallback.source,
                "route": report.fallback.route,
                "age_ms": report.fallback.age_ms,
                "reason": report.fallback.reason,
            }
            if report.HasField("fallback")
            else None,
            "tries": [
                {"node": given_up.node, "ms": _ms(given_up.ended_s - given_up.sent_s), "why": given_up.why}
                for given_up in past.tries
            ],
            "starts_ms": _ms(past.received_s - whole.received_s),
            "legs": [
                self.of(leg, whole=whole, offset_ns=offset_ns)
                for leg in sorted(past.legs, key=lambda leg: leg.received_s)  # they are told of as they end
            ],
            "jaeger": f"{self.jaeger.rstrip('/')}/trace/{trace_id}" if self.jaeger and is_traced else None,
        }


def _decision(decision: budget_pb2.Decision) -> dict[str, Any]:
    return {
        "why": decision.why,
        "expected_ms": decision.expected_us / 1e3,
        "within_ms": decision.quantile_us / 1e3,
        "target": decision.target,
        "retry_after_ms": decision.retry_after_us / 1e3,
        "held_ms": decision.held_us / 1e3,
        "device": decision.device,
        "cost": decision.cost,
        "joules": decision.joules,
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 3)


def _time_of_day(since_1970_ns: int) -> str:
    """ "2026-11-23T02:00:00.123Z"."""
    moment = datetime.fromtimestamp(since_1970_ns // 1_000_000 / 1e3, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
