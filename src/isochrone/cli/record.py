"""A request that is over as a router's admin tells of it. A field that an older router lacks, or a newer one has
besides, does no harm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from isochrone.cli.plan_in_words import LATE
from isochrone.v1.budget_pb2 import BatchInfo, BudgetReport, Decision, Fallback, Stage


@dataclass(frozen=True, slots=True)
class Record:
    """One request, or a fan-out with its legs."""

    told: Mapping[str, Any]
    """As it came."""
    report: BudgetReport
    legs: tuple[Record, ...]

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Record:
        return cls(told, _report(told), tuple(cls.of(leg) for leg in _list(told, "legs")))

    @property
    def trace_id(self) -> str:
        return _text(self.told, "trace_id")

    @property
    def route(self) -> str:
        return _text(self.told, "route")

    @property
    def short_route(self) -> str:
        """ "Recsys/Rank"."""
        return self.route.rpartition(".")[2]

    @property
    def leg(self) -> str:
        return _text(self.told, "leg")

    @property
    def router(self) -> str:
        return _text(self.told, "router")

    @property
    def verdict(self) -> str:
        """ "met", "missed", "failed", "fallback" or "cancelled"."""
        return _text(self.told, "verdict")

    @property
    def error(self) -> str:
        """What it failed with: its code, and the reason where that says more. Empty where it didn't fail."""
        code, reason = _text(self.told, "code"), _text(self.told, "reason")
        if self.verdict != "failed":
            return ""
        return code if reason in ("", code) else f"{code}, {reason}"

    @property
    def blame(self) -> str:
        """The stage, as people write it; empty where none is to blame."""
        return _text(self.told, "blame").replace("_", " ")

    @property
    def spent_ms(self) -> float:
        """What the objective is for: until the answer, or its first chunk where it streams."""
        return (self.report.first_us or self.report.total_us) / 1e3

    @property
    def starts_ms(self) -> float:
        """Of a leg: from the fan-out's arrival."""
        return _number(self.told, "starts_ms")

    @property
    def is_planned_late(self) -> bool:
        """Nobody would have been in time: it was sent with time that others left over."""
        return self.report.decision.why == LATE

    @property
    def tries(self) -> list[Mapping[str, Any]]:
        """Attempts that were given up: node, ms, why."""
        return _list(self.told, "tries")

    @property
    def jaeger(self) -> str:
        return _text(self.told, "jaeger")

    @property
    def at(self) -> datetime | None:
        """When it arrived, in this machine's zone; None where that isn't known."""
        try:
            return datetime.fromisoformat(_text(self.told, "at")).astimezone()
        except (ValueError, OverflowError):
            return None


def _report(told: Mapping[str, Any]) -> BudgetReport:
    batch, stages, fallback, decision = (told.get(key) for key in ("batch", "stages", "fallback", "decision"))
    report = BudgetReport(
        objective_us=_us(told, "objective_ms"),
        deadline_us=_us(told, "deadline_ms"),
        total_us=_us(told, "total_ms"),
        first_us=_us(told, "first_ms"),
        chunks=int(_number(told, "chunks")),
        missed=told.get("verdict") == "missed",
        lane=_text(told, "lane"),
        node=_text(told, "node"),
        tier=_text(told, "tier"),
        attempts=int(_number(told, "attempts")),
        won=int(_number(told, "won")),
        caller=_text(told, "caller"),
        direct=told.get("direct") is True,
        units=int(_number(told, "units")),
    )
    for stage in stages if isinstance(stages, list) else ():
        if isinstance(stage, list) and len(stage) == 2:
            report.stage_us.append(_us({"ms": stage[1]}, "ms"))
    if isinstance(batch, Mapping):
        jobs, units = (int(_number(batch, key)) for key in ("jobs", "units"))
        report.batch.CopyFrom(BatchInfo(jobs=jobs, units=units, closed_by=_text(batch, "closed_by")))
    if isinstance(fallback, Mapping):
        source, route, reason = (_text(fallback, key) for key in ("source", "route", "reason"))
        age_ms = fallback.get("age_ms")
        age_ms = age_ms if isinstance(age_ms, int) and 0 <= age_ms < 2**63 else 0
        report.fallback.CopyFrom(Fallback(source=source, route=route, age_ms=age_ms, reason=reason))
    if isinstance(decision, Mapping):
        report.decision.CopyFrom(_decision(decision))
    blame = f"STAGE_{_text(told, 'blame').upper()}"
    if blame in Stage.keys():  # noqa: SIM118  it is no dictionary
        report.blame = cast("Stage", Stage.Value(blame))  # a plain number, but for the types
    return report


def _decision(told: Mapping[str, Any]) -> Decision:
    return Decision(
        why=_text(told, "why"),
        expected_us=_us(told, "expected_ms"),
        quantile_us=_us(told, "within_ms"),
        target=_number(told, "target"),
        retry_after_us=_us(told, "retry_after_ms"),
        held_us=_us(told, "held_ms"),
        device=_text(told, "device"),
        cost=_number(told, "cost"),
        joules=_number(told, "joules"),
    )


def _text(of: Mapping[str, Any], key: str) -> str:
    found = of.get(key)
    return found if isinstance(found, str) else ""


def _number(of: Mapping[str, Any], key: str) -> float:
    """Never negative, and no more than a BudgetReport can hold in millionths."""
    found = of.get(key)
    if not isinstance(found, int | float) or not 0 <= found < 4e6:
        return 0.0
    return found


def _us(of: Mapping[str, Any], ms: str) -> int:
    return round(_number(of, ms) * 1e3)


def _list(of: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = of.get(key)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
