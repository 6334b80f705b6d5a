"""A simulated device: what batches take in truth, which nobody but it knows."""

from __future__ import annotations

from math import log
from random import Random

from isochrone.latency import LatencyModel
from isochrone.simulator.scenario import ServiceConfig

LEAST = 0.5
"""No batch is done in less than this fraction of what it takes as a rule."""
WARM_UP_REPEATS = 3


class Device:
    """Draws how long batches take. Errors are Laplace's, as the latency model takes them to be."""

    def __init__(self, random: Random) -> None:
        self._random = random.random
        self.pace = 1.0
        """So many times as long as the scenario says."""

    def __repr__(self) -> str:
        return f"<Device {self.pace:g} times as long>"

    def seconds(self, service: ServiceConfig, units: int) -> float:
        """Of one batch."""
        return self.pace * (service.base_ms + service.per_unit_ms * units) / 1e3 * self._noise(service.spread)

    def warmed_up(self, service: ServiceConfig) -> LatencyModel:
        """What a node knows of it once it is ready: fitted to batches of growing size, as a real one's."""
        sizes = [size for size in (1, 4, 16, 64, 256, 1024) if size < service.batch_units]
        samples = [
            (units, self.seconds(service, units))
            for units in (*sizes, service.batch_units)
            for _ in range(WARM_UP_REPEATS)
        ]
        return LatencyModel.fitted(samples)

    def _noise(self, spread: float) -> float:
        if not spread:
            return 1.0
        drawn = self._random() - 0.5
        error = -log(max(1e-12, 1 - 2 * abs(drawn))) * spread
        return max(LEAST, 1 + error if drawn > 0 else 1 - error)
