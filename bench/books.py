"""What became of each request of an open loop: in time or not, refused or lost, what it cost, and how that went on."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.load import Recorder
from bench.promises import Promise

COURSE_S = 0.5
"""How long each part of the course is."""
LEFT = "LEFT"
"""Of a request that had no answer when the load ended."""
_REFUSALS = frozenset({"RESOURCE_EXHAUSTED", "UNAVAILABLE"})


@dataclass(slots=True)
class Entry:
    """One request. Times are on the machine's monotonic clock."""

    at_s: float
    """When it was to be sent."""
    promise: Promise
    sent_s: float = 0.0
    done_s: float = 0.0
    code: str = LEFT
    """gRPC's."""
    cost: float = 0.0
    attempts: int = 0

    @property
    def latency_s(self) -> float:
        """From the moment at which it was to be sent."""
        return self.done_s - self.at_s

    @property
    def is_answered(self) -> bool:
        return self.code == "OK"

    @property
    def is_in_time(self) -> bool:
        return self.is_answered and self.latency_s <= self.promise.limit_s

    @property
    def is_refused(self) -> bool:
        return self.code in _REFUSALS


class Books(Recorder):
    """Entries of the requests that were to be sent within the window."""

    def __init__(self, *, begin_s: float, end_s: float) -> None:
        super().__init__()
        self.begin_s = begin_s
        self.end_s = end_s
        self.entries: list[Entry] = []

    def opened(self, at_s: float, promise: Promise) -> Entry:
        """An entry for a request that is due."""
        entry = Entry(at_s, promise)
        if self.begin_s <= at_s < self.end_s:
            self.entries.append(entry)
        return entry

    def close(self) -> None:
        """Hands on to the recorder what it knows of: latencies, lags and errors."""
        for entry in self.entries:
            if entry.sent_s:
                self.lags_s.append(entry.sent_s - entry.at_s)
            if entry.is_answered:
                self.latencies_s.append(entry.latency_s)
            else:
                self.errors[entry.code] += 1

    def summary(self, cuts_s: Sequence[float] = ()) -> dict[str, Any]:
        """Of the window, of each limit, of each part of the course, and of the parts between `cuts_s`, in seconds from
        the window's begin."""
        refused_ms = [(entry.done_s - entry.sent_s) * 1e3 for entry in self.entries if entry.is_refused]
        by_limit = collections.defaultdict(list)
        for entry in self.entries:
            by_limit[entry.promise.name].append(entry)
        length_s = self.end_s - self.begin_s
        steps = np.arange(0, length_s - COURSE_S / 2, COURSE_S)
        edges = [0.0, *cuts_s, length_s]
        return {
            **_told(self.entries),
            "cost": sum(entry.cost for entry in self.entries),
            "second_attempts": sum(max(0, entry.attempts - 1) for entry in self.entries),
            "refused_p50_ms": float(np.median(refused_ms)) if refused_ms else None,
            "refused_p99_ms": float(np.quantile(refused_ms, 0.99)) if refused_ms else None,
            "limits": {name: _told(entries) for name, entries in sorted(by_limit.items())},
            "course": [_told(self._between(float(step), float(step) + COURSE_S)) for step in steps],
            "parts": [_told(self._between(a, b)) for a, b in itertools.pairwise(edges)] if cuts_s else [],
        }

    def _between(self, from_s: float, to_s: float) -> list[Entry]:
        return [entry for entry in self.entries if from_s <= entry.at_s - self.begin_s < to_s]


def _told(entries: Iterable[Entry]) -> dict[str, Any]:
    entries = list(entries)
    latencies_ms = [entry.latency_s * 1e3 for entry in entries if entry.is_answered]
    return {
        "offered": len(entries),
        "in_time": sum(entry.is_in_time for entry in entries),
        "refused": sum(entry.is_refused for entry in entries),
        "late": sum(entry.is_answered and not entry.is_in_time for entry in entries),
        "answered_p50_ms": float(np.quantile(latencies_ms, 0.5)) if latencies_ms else None,
        "answered_p99_ms": float(np.quantile(latencies_ms, 0.99)) if latencies_ms else None,
    }
