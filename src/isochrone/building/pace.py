"""How long a built model takes, as measured on the machine that built it: a file of its own in the model's folder.

It stands beside the manifest and not in it: builds are repeatable, and how long something takes is not.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path

PACE = "pace.json"


@dataclass(frozen=True, slots=True)
class Pace:
    """Of one request of one unit, with nothing else to do. Where the answer streams, to its first part."""

    device: str
    unit: str
    ms: float
    """The median."""
    spread: float
    """The mean absolute difference from it, as a fraction."""

    @classmethod
    def read(cls, directory: Path) -> Pace | None:
        """Of the model built in `directory`; None where none was measured."""
        try:
            content = json.loads((directory / PACE).read_text(encoding="utf-8"))
            pace = cls(str(content["device"]), str(content["unit"]), float(content["ms"]), float(content["spread"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return pace if math.isfinite(pace.ms) and pace.ms > 0 and 0 <= pace.spread < math.inf else None

    def write(self, directory: Path) -> None:
        new = directory / f".{PACE}"
        new.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")
        os.replace(new, directory / PACE)
