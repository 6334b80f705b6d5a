"""How the requests of a route ended and where their time went: lists of numbers, added to once for each request."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from isochrone.batching import ClosedBy
from isochrone.deadline import Clock
from isochrone.errors import REASONS
from isochrone.keys import Tier
from isochrone.telemetry import (
    DURATION_BUCKETS_S,
    RATIO_BUCKETS,
    SIZE_BUCKETS,
    STAGE_BUCKETS_S,
    STAGES,
    UNIT_BUCKETS,
    Histogram,
)
from isochrone.v1 import budget_pb2
from isochrone_router.past import Past
from isochrone_router.plan_stats import PlanStats

WINDOW_S = 15.0
MOST_ATTEMPTS = 4
"""Requests that were sent more often are counted with these."""
OTHER = "other"
"""In place of a word that nobody here knows: what others say never makes a label of its own."""
_CLAIM_TO_REPLY = slice(budget_pb2.STAGE_BATCH_WAIT - 1, budget_pb2.STAGE_LINK)
_TIERS = frozenset(Tier)
_CLOSED_BY = frozenset(ClosedBy)


class End:
    """The requests of one tier that ended in one way."""

    __slots__ = ("durations", "met")

    def __init__(self) -> None:
        self.durations = Histogram(DURATION_BUCKETS_S)
        self.met = 0
        """Within their objective, where they were answered OK, by their own answers."""


@dataclass(frozen=True, slots=True)
class Lately:
    """How a route is doing now."""

    rate: float
    p50_s: float | None
    p99_s: float | None
    """Of those that were not refused on arrival."""
    attainment: float | None
    """Fraction of all requests that were answered OK within the objective, and not by a fallback."""


class RouteStats:
    """One route, since the process started and over the last 15 to 30 seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ends: dict[tuple[str, str], End] = {(Tier.STANDARD, "OK"): End()}
        """By tier and gRPC code. There from the start is what most requests come to: rates then know its first."""
        self._misses = [0] * (len(STAGES) + 1)
        """By the stage to blame; first those that none is."""
        self.stages = tuple(Histogram(STAGE_BUCKETS_S) for _ in STAGES)
        self.refusals: Counter[str] = Counter()
        self.fallbacks: Counter[tuple[str, str]] = Counter()
        """By what stood in, and what for."""
        self.plans: dict[tuple[str, str], PlanStats] = {}
        """By the lane that requests were sent to, last where more than once, and why."""
        self._attempts = [0] * (MOST_ATTEMPTS + 1)
        self.batch_jobs = Histogram(SIZE_BUCKETS)
        self.batch_units = Histogram(UNIT_BUCKETS)
        self.closed_by: Counter[str] = Counter()
        self.units = 0
        self.first_chunks = Histogram(DURATION_BUCKETS_S)
        self.chunk_intervals = Histogram(STAGE_BUCKETS_S)
        self.finishes: dict[str, Histogram] = {}
        """By lane: the time from claim to reply, as a multiple of what the node had promised."""
        self._window = _Window()
        self._before = _Window()
        self._turned_s = -math.inf

    def __repr__(self) -> str:
        return f"<RouteStats of {self.requests} requests, {self.met} in time>"

    @property
    def ends(self) -> Iterator[tuple[str, str, End]]:
        """With tier and gRPC code."""
        return ((tier, code, end) for (tier, code), end in list(self._ends.items()))

    @property
    def outcomes(self) -> Counter[str]:
        """Requests by gRPC code, "OK" among them."""
        outcomes: Counter[str] = Counter()
        for _, code, end in self.ends:
            outcomes[code] += end.durations.total
        return +outcomes

    @property
    def requests(self) -> int:
        return self.outcomes.total()

    @property
    def met(self) -> int:
        """Answered OK within the objective, and not by a fallback."""
        return sum(end.met for _, _, end in self.ends)

    @property
    def misses(self) -> dict[str, int]:
        """Requests over their objective, by the name of the stage to blame, all of them; OTHER, where none is."""
        none, *blamed = self._misses
        return dict(zip(STAGES, blamed, strict=True)) | ({OTHER: none} if none else {})

    @property
    def attempts(self) -> dict[int, int]:
        """Requests by how often they were sent; 0: refused, or a fan-out, whose legs are."""
        return {number: count for number, count in enumerate(self._attempts) if count}

    def add(self, past: Past) -> None:
        """A request is over. For every one, so it is written to be quick: a local name and no call where there may be
        one."""
        report, code = past.report, past.code
        tier, first_us, missed = report.tier, report.first_us, report.missed
        end = self._ends.get((tier, code))
        if end is None:
            end = self._ends.setdefault((tier if tier in _TIERS else OTHER, code), End())
        # Of an answer that streams, what its objective is for: the first chunk.
        took_s = (first_us or report.total_us) / 1e6
        bucket = bisect_left(DURATION_BUCKETS_S, took_s)
        end.durations.counts[bucket] += 1
        end.durations.sum += took_s
        if self._clock() - self._turned_s >= WINDOW_S:
            self._turn()
        window = self._window
        window.requests += 1
        is_fallback = past.is_fallback
        if is_fallback:
            reason = past.reason if past.reason in REASONS else OTHER
            self.fallbacks[report.fallback.source, reason] += 1
        if missed:
            self._misses[report.blame] += 1
        elif code == "OK" and not is_fallback:
            end.met += 1
            window.met += 1
        attempts, stage_us = report.attempts, report.stage_us
        self._attempts[attempts if attempts < MOST_ATTEMPTS else MOST_ATTEMPTS] += 1
        if not attempts and stage_us and code != "CANCELLED" and (code != "OK" or is_fallback):
            self.refusals[past.reason if past.reason in REASONS else OTHER] += 1
        else:
            window.counts[bucket] += 1
        batch = report.batch
        jobs = batch.jobs
        plan = past.plan
        if plan is not None:
            known = self.plans.get((plan.lane, plan.why)) or self._plan(plan.lane, plan.why)
            known.requests += 1
            price = past.price
            if attempts > 1:  # the last may have been another lane's
                if price is not None:
                    self._plan(report.lane, plan.why).add_price(price)
            elif price is not None:
                known.cost += price.cost
                known.joules += price.joules
                expected_s = plan.finish.expected_s
                if code == "OK" and expected_s > 0 and not is_fallback:
                    known.answers += 1
                    known.expected_s += expected_s
                    known.actual_s += took_s
                    if took_s <= plan.quantile_s:
                        known.within += 1
                    ratio = took_s / expected_s
                    known.ratios.counts[bisect_left(RATIO_BUCKETS, ratio)] += 1
                    known.ratios.sum += ratio
        for histogram, spent_us in zip(self.stages, stage_us):  # noqa: B905  none of a fan-out; of others, all
            if spent_us or jobs:  # else it never came so far
                spent_s = spent_us / 1e6
                histogram.counts[bisect_left(STAGE_BUCKETS_S, spent_s)] += 1
                histogram.sum += spent_s
        if jobs:
            self.batch_jobs.observe(jobs)
            self.batch_units.observe(batch.units)
            closed_by = batch.closed_by
            self.closed_by[closed_by if closed_by in _CLOSED_BY else OTHER] += 1
            self.units += report.units
            if past.predicted_us and code == "OK" and not past.tries:  # else another node may have promised it
                self._add_finish(report.lane, sum(stage_us[_CLAIM_TO_REPLY]) / past.predicted_us)
        if first_us:
            self._add_stream(first_us, report.total_us, report.chunks)

    def _plan(self, lane: str, why: str) -> PlanStats:
        return self.plans.setdefault((lane, why), PlanStats())

    def _add_stream(self, first_us: int, total_us: int, chunks: int) -> None:
        self.first_chunks.observe(first_us / 1e6)
        if chunks > 1:
            self.chunk_intervals.observe((total_us - first_us) / 1e6 / (chunks - 1), times=chunks - 1)

    def _add_finish(self, lane: str, ratio: float) -> None:
        finish = self.finishes.get(lane)
        if finish is None:
            finish = self.finishes[lane] = Histogram(RATIO_BUCKETS)
        finish.observe(ratio)

    def lately(self) -> Lately:
        """Rates and quantiles of the last window."""
        now_s = self._clock()
        if now_s - self._turned_s >= WINDOW_S:
            self._turn()
        window, before = self._window, self._before
        asked = window.requests + before.requests
        age_s = (WINDOW_S if before.requests else 0.0) + now_s - self._turned_s
        both = Histogram(DURATION_BUCKETS_S)
        both.counts = [a + b for a, b in zip(window.counts, before.counts, strict=True)]
        return Lately(
            rate=asked / max(age_s, 1.0),
            p50_s=both.quantile(0.5),
            p99_s=both.quantile(0.99),
            attainment=(window.met + before.met) / asked if asked else None,
        )

    def _turn(self) -> None:
        """Starts a new half of the window."""
        now_s = self._clock()
        is_next = now_s - self._turned_s < 2 * WINDOW_S
        self._before = self._window if is_next else _Window()
        self._window = _Window()
        self._turned_s = now_s


class _Window:
    """One half of what is lately."""

    __slots__ = ("counts", "met", "requests")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BUCKETS_S) + 1)
        self.requests = 0
        self.met = 0
