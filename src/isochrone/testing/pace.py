"""How steadily an emulated device works: how batches differ, and how many times slower it is for the time being."""

from __future__ import annotations

import math
import random
from pathlib import Path

SEED = 11


class Pace:
    """Multiplies how long batches take."""

    def __init__(self, *, spread: float = 0.0, file: Path | None = None) -> None:
        """`spread` is the deviation of the factor's logarithm. `file` holds a number, looked at for each batch: so a
        test slows a device down while it runs, as one is that shares its cores or grows hot."""
        self._spread = spread
        self._file = file
        self._dice = random.Random(SEED)

    def __repr__(self) -> str:
        return f"<Pace with a spread of {self._spread:g}, {self.told():g} times as long>"

    def factor(self) -> float:
        """Of the next batch."""
        drawn = math.exp(self._dice.gauss(0, self._spread)) if self._spread else 1.0
        return drawn * self.told()

    def told(self) -> float:
        """What the file says now: 1 where it is away or has no number of 0 or more."""
        if self._file is None:
            return 1.0
        try:
            factor = float(self._file.read_text())
        except (OSError, ValueError):
            return 1.0
        return factor if 0 <= factor < math.inf else 1.0

    @staticmethod
    def tell(file: Path, factor: float) -> None:
        """Has whoever looks at that file go on so many times slower. Nobody reads half a number."""
        new = file.with_name(f".{file.name}.new")
        new.write_text(f"{factor}\n")
        new.replace(file)
