"""Whether a node leaves a lane to faster ones, and which of its jobs it is too slow for: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple, TypeVar

from isochrone.batching import Waiting
from isochrone.latency import Latency
from isochrone.registry import LaneRecord

BACK_FROM, BACK_UNTIL = 3.0, 2.0
"""So many times as slow as another, a node stands back; under that many times, it comes back."""
LEAST_S = 0.001
"""A full batch takes this much longer at the least: less harms no objective, and jitter alone may be as much."""

_J = TypeVar("_J", bound=Waiting)
_urgency = attrgetter("objective_s")


class Pace(NamedTuple):
    """How long a node's batches take, small ones and large ones."""

    latency: Latency
    batch_units: int

    @classmethod
    def of_record(cls, record: LaneRecord) -> Pace:
        """As another node has published it."""
        return cls(Latency(record.base_us / 1e6, record.per_unit_us / 1e6, record.spread), record.batch_units)

    def slower_than(self, other: Pace, *, weight: float) -> float:
        """How many times as long it takes as the other, for one job of that weight or for a full batch, whichever is
        the lesser: slow is who is slow at both."""
        full = min(self.batch_units, other.batch_units)
        return min(self.latency.of(units) / max(other.latency.of(units), 1e-9) for units in (weight, full))

    def longer_than(self, other: Pace) -> float:
        """By how many seconds it takes longer for a full batch."""
        full = min(self.batch_units, other.batch_units)
        return self.latency.of(full) - other.latency.of(full)


def stands_back(own: Pace, claiming: Iterable[Pace], *, weight: float, was_back: bool) -> bool:
    """Whether to leave a lane to the others that claim from it now.

    Never do all of them: whoever is fastest of those that claim has nobody faster, and with nobody who claims
    everyone may. `weight`: units of a job lately.
    """
    times, least_s = (BACK_UNTIL, LEAST_S / 2) if was_back else (BACK_FROM, LEAST_S)
    return any(
        own.longer_than(other) >= least_s and own.slower_than(other, weight=max(weight, 1.0)) >= times
        for other in claiming
    )


def too_late(staged: Sequence[_J], *, free_at_s: float, latency: Latency) -> list[_J]:
    """Those that would miss their objective here, with the more urgent before them and the device free at that
    time."""
    late: list[_J] = []
    units = 0
    for job in sorted(staged, key=_urgency):
        if free_at_s + latency.of(units + job.units) > job.objective_s:
            late.append(job)
        else:
            units += job.units
    return late
