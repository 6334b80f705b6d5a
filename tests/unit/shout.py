"""A model, as a service has one, and a route to it."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.errors import InvalidRequest
from isochrone.testing.mesh import UnderWay
from isochrone.testing.virtual_time import VirtualClock

NOTHING = UnderWay(requests=0, in_lanes=0, on_nodes=0)


class Shout:
    """`forward` takes 2 ms and 1 ms a letter, on whatever clock it is given."""

    variant = "shout"
    routes = ("example.Text/Shout",)
    unit = "letters"
    max_units = 100
    batch_units = 100
    batch_jobs = 8

    def __init__(self, clock: VirtualClock | None = None) -> None:
        self._clock = clock
        self.stuck_s = 0.0
        self.batches: list[list[str]] = []

    def load(self) -> None:
        pass

    def decode(self, route: str, payload: bytes) -> str:
        if not payload.isascii():
            raise InvalidRequest.of("text", "should be ASCII")
        return payload.decode()

    def weigh(self, item: str) -> int:
        return max(1, len(item))

    def forward(self, batch: Sequence[str]) -> Sequence[str]:
        self.batches.append(list(batch))
        if self._clock is not None:
            self._clock.advance(self.stuck_s + 0.002 + 0.001 * sum(map(self.weigh, batch)))
        if "boom" in batch:
            raise RuntimeError("boom")
        return [text.upper() for text in batch]

    def encode(self, item: str, output: str) -> bytes:
        return output.encode()

    def example(self, units: int) -> str:
        return "x" * units


ROUTE = "example.Text/Shout"
ROUTES = {ROUTE: {"objective_ms": 50, "deadline_ms": 1000}}
