"""What a benchmark found: single measurements, verdicts on targets, and a case that holds both."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from bench.stats import Spread, in_digits


@dataclass(frozen=True, slots=True)
class Measurement:
    """One window of the load generator against one contender."""

    contender: str
    """ "mesh", "floor", "one node", …"""
    what: str
    """ "64 in flight", "1,200/s", …"""
    round: int
    data: dict[str, Any]
    """The load generator's JSON."""

    @property
    def rate(self) -> float:
        """Answers a second."""
        return float(self.data["answered"]) / float(self.data["window_s"])

    @property
    def p50_ms(self) -> float:
        return float(self.data["p50_ms"])

    @property
    def p99_ms(self) -> float:
        return float(self.data["p99_ms"])

    @property
    def tokens_per_s(self) -> float:
        """Of texts."""
        return float(self.data["tokens"]) / float(self.data["window_s"])

    @property
    def goodput(self) -> float:
        """Answers in time a second, where the load was a promised one; refusals are none."""
        return float(self.data["in_time"]) / float(self.data["window_s"])

    @property
    def share_in_time(self) -> float:
        """Of all that were to be sent."""
        return float(self.data["in_time"]) / max(1.0, float(self.data["offered"]))

    @property
    def refused_p50_ms(self) -> float:
        """From the sending of those that were refused to that."""
        return float(self.data["refused_p50_ms"])

    @property
    def cost_per_1000(self) -> float:
        """Of answers in time: what all requests have cost, over these."""
        return 1000 * float(self.data["cost"]) / max(1.0, float(self.data["in_time"]))

    @property
    def failed(self) -> int:
        return sum(self.data["errors"].values())

    @property
    def server_cpu_us(self) -> dict[str, float]:
        """Microseconds of CPU per request by process, without the load generator's own and those beside it."""
        used_s = self.data["cpu_s"]
        return {name: used_s[name] / self.data["requests"] * 1e6 for name in used_s if not name.startswith("load")}

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU per request, of all serving processes together."""
        return sum(self.server_cpu_us.values())

    @property
    def busy_load_cores(self) -> float:
        """How many cores the load generator itself kept busy; near one, it was what limited the rate."""
        return float(self.data["cpu_s"].get("load", 0.0) / self.data["window_s"])

    @property
    def busy_elsewhere_cores(self) -> float:
        """How many cores were busy with what belongs to neither side: other people, the kernel."""
        return float(self.data["elsewhere_cpu_s"] / self.data["window_s"])

    @property
    def stolen_cores(self) -> float:
        """How many cores a hypervisor gave to others meanwhile; they are among those busy elsewhere."""
        return float(self.data.get("stolen_cpu_s", 0.0) / self.data["window_s"])

    def share_within(self, other: Measurement) -> float:
        """The part of this window that lies in another's, which ran beside it."""
        begin_s, window_s = self.data["from_s"], self.data["window_s"]
        other_begin_s = other.data["from_s"]
        end_s = min(begin_s + window_s, other_begin_s + other.data["window_s"])
        return float(max(0.0, end_s - max(begin_s, other_begin_s)) / window_s)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target, and whether the median of the rounds met it."""

    target: str
    """In words: "CPU of all mesh processes per request, over the floor's"."""
    sense: Literal["≤", "≥"]
    limit: float
    unit: str
    measured: Spread
    beside: str = ""
    """What the figure was made of."""

    @property
    def met(self) -> bool:
        median = self.measured.median
        return median <= self.limit if self.sense == "≤" else median >= self.limit


@dataclass(frozen=True, slots=True)
class CaseResult:
    """All that one case found."""

    name: str
    title: str
    pinning: str
    verdicts: list[Verdict]
    measurements: list[Measurement]
    notes: list[str] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    """Figures that no load generator made, such as onnxruntime's alone."""

    def as_json(self) -> dict[str, Any]:
        verdicts = [asdict(verdict) | {"met": verdict.met} for verdict in self.verdicts]
        return asdict(self) | {"verdicts": verdicts}


def having(measurements: Iterable[Measurement], contender: str, what: str) -> list[Measurement]:
    """Those of one contender under one kind of load, by round."""
    found = [each for each in measurements if each.contender == contender and each.what == what]
    return sorted(found, key=lambda each: each.round)


def over(left: Iterable[Measurement], right: Iterable[Measurement], figure: str, *, minus: bool = False) -> Spread:
    """A figure of one side over (or minus) the other's, round by round: what drifts in between cancels out."""
    pairs = [(getattr(a, figure), getattr(b, figure)) for a, b in zip(left, right, strict=True)]
    return Spread.of(a - b if minus else a / b for a, b in pairs)


def spread_of(measurements: Iterable[Measurement], figure: str) -> Spread:
    """A figure over the rounds."""
    return Spread.of(getattr(each, figure) for each in measurements)


def beside(left: Iterable[Measurement], right: Iterable[Measurement], figure: str, unit: str) -> str:
    """A figure of both sides for people: "402 against 236 µs"."""
    ours, theirs = spread_of(left, figure).median, spread_of(right, figure).median
    return f"{in_digits(ours)} against {in_digits(theirs)} {unit}"
