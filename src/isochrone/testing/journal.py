"""What a toy's forward calls had in them and when they began: the evidence for tests of what was run, and how often."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isochrone.deadline import monotonic

NAME_BYTES = 64
"""Bodies are told apart by so many of their first bytes."""


@dataclass(frozen=True, slots=True)
class Forward:
    """One forward call."""

    pid: int
    began_s: float
    """On the monotonic clock, which all processes of a machine share."""
    bodies: tuple[bytes, ...]


class Journal:
    """A file that several nodes append to, a line for each forward call, and that a test reads."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, bodies: Sequence[bytes]) -> None:
        """Adds a forward call that begins now. Warm-up batches, whose bodies are empty, are left out."""
        if any(bodies):
            line = {"pid": os.getpid(), "began_s": monotonic(), "bodies": [body[:NAME_BYTES].hex() for body in bodies]}
            with open(self._path, "ab", buffering=0) as file:
                file.write(json.dumps(line).encode() + b"\n")  # one write: lines of several processes don't mix

    def forwards(self) -> list[Forward]:
        """All that was noted, in the order it was written."""
        if not self._path.exists():
            return []
        lines = [json.loads(line) for line in self._path.read_bytes().splitlines()]
        return [Forward(x["pid"], x["began_s"], tuple(bytes.fromhex(body) for body in x["bodies"])) for x in lines]

    def times_run(self) -> Counter[bytes]:
        """How often each body was in a forward call."""
        return Counter(body for forward in self.forwards() for body in forward.bodies)
