"""Everything a build depends on, so that a model that was built before can be known to be current.

Needs neither torch nor numpy: asking is as quick as reading a dozen small files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isochrone.building.manifest import fingerprint

VARIANT = "eye.fp32"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a model must reach on photos it has not seen; a build that doesn't is not published."""

    accuracy: float = 0.95
    """The share of photos that it names rightly."""
    neighbours_alike: float = 0.95
    """The share of photos whose nearest neighbour in the gallery is of the same kind."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How many photos there are, how long the model looks at them, and what is expected of it."""

    seed: int = 20_251_122
    side: int = 64
    """Of the square the model looks at, in pixels."""
    train_photos: int = 7_200
    held_out_photos: int = 1_200
    gallery_photos: int = 1_200
    """Among which the held-out photos' nearest neighbours are looked for; the model hasn't seen them either."""
    passes: int = 5
    """How often each training photo is looked at."""
    batch_photos: int = 32
    learning_rate: float = 8e-3
    sample_photos: int = 96
    """Held-out photos whose JPEG files are kept for demos and benchmarks."""
    bar: Bar = Bar()

    def fingerprint(self) -> str:
        """Of this recipe and of the sources that carry it out."""
        return fingerprint(self, _sources())


def _sources() -> list[Path]:
    """The build's own modules, those that write its files, and the one that makes pixels of photos."""
    here = Path(__file__).parent
    others = ("header.py", "manifest.py", "photo.py", "samples.py")
    return [*sorted(here.glob("*.py")), *(here.parent / name for name in others)]
