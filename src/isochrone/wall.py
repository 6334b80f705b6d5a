"""The time of day, for what people and other systems read. It may be stepped any moment: nothing is decided by it."""

from __future__ import annotations

import time
from collections.abc import Callable

from isochrone.deadline import Clock

now_ns: Callable[[], int] = time.time_ns
"""Nanoseconds since 1970, UTC."""


def offset_ns(clock: Clock) -> int:
    """What to add to nanoseconds of a monotonic clock to have the time of day, as it is told now."""
    return now_ns() - int(clock() * 1e9)
