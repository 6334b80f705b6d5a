"""Everything a build depends on, so that a model that was built before can be known to be current.

Needs neither torch nor numpy: asking is as quick as reading a dozen small files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isochrone.building.manifest import fingerprint

VARIANT = "ranker.fp32"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a model must reach on visits it has not seen; a build that doesn't is not published."""

    oracle_lift: float = 0.90
    """Of what the oracle's AUC has over chance, 0.5, the part that the model's has."""
    over_popularity: float = 0.10
    """By how much its AUC exceeds that of ranking by popularity."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The size of the world, the length of the training, and what is expected of it."""

    seed: int = 20_251_122
    items: int = 20_000
    past_visits: int = 32_000
    """Visits of the month before, that items' histories are taken from."""
    train_visits: int = 64_000
    held_out_visits: int = 10_000
    slate: int = 20
    """Items shown in a visit."""
    batch_visits: int = 64
    learning_rate: float = 7e-3
    sample_visitors: int = 2_000
    """Held-out visitors that are kept for demos and benchmarks."""
    bar: Bar = Bar()

    def fingerprint(self) -> str:
        """Of this recipe and of the sources that carry it out."""
        return fingerprint(self, _sources())


def _sources() -> list[Path]:
    """The build's own modules and those that write its files."""
    here = Path(__file__).parent
    return [*sorted(here.glob("*.py")), *(here.parent / name for name in ("catalogue.py", "manifest.py", "samples.py"))]
