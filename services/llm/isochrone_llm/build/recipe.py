"""Everything a build depends on, so that a model that was built before can be known to be current.

Needs neither torch nor numpy: asking is as quick as reading a few dozen small files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from isochrone.building.manifest import fingerprint

VARIANT = "blurb.fp32"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a model must reach on prompts it has not seen; a build that doesn't is not published."""

    right: float = 0.95
    """The part of greedy blurbs that parse and state what their prompts do."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The size of the model, the length of the training, and what is expected of it."""

    seed: int = 20_251_122
    vocabulary: int = 1024
    """Tokens, the 256 bytes and the special ones included."""
    hidden: int = 128
    feed_forward: int = 352
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    context: int = 256
    texts: int = 12_000
    """Each is learnt from once."""
    batch_texts: int = 32
    learning_rate: float = 4e-3
    held_out: int = 400
    """Prompts that the model is judged by."""
    samples: int = 200
    """Of them, how many are kept for demos and benchmarks."""
    bar: Bar = Bar()

    def fingerprint(self) -> str:
        """Of this recipe and of the sources that carry it out."""
        return fingerprint(self, _sources())


def _sources() -> list[Path]:
    """The build's own modules and those that write its files."""
    here = Path(__file__).parent
    beside = ("codec.py", "llama.py", "llama_config.py", "manifest.py", "samples.py")
    return [*sorted(here.glob("*.py")), *(here.parent / name for name in beside)]
