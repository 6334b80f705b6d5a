"""How well a model names photos it has not seen, and whether it finds alike those that are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isochrone.building.making import BuildFailed
from isochrone_vision.build.recipe import Bar

Kinds = npt.NDArray[np.int64]
Embeddings = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Shares of the held-out photos."""

    accuracy: float
    """Named rightly: their most probable label is theirs."""
    neighbours_alike: float
    """Whose nearest neighbour in the gallery, by embedding, is of their kind."""

    @property
    def metrics(self) -> dict[str, float]:
        """As the manifest has them."""
        return {"accuracy": self.accuracy, "neighbours_alike": self.neighbours_alike}

    def check(self, bar: Bar) -> None:
        """Raises BuildFailed where the model is below the bar."""
        if not self.accuracy >= bar.accuracy:  # so that NaN fails, too
            raise BuildFailed(f"the model names {self.accuracy:.1%} of photos rightly; the bar is {bar.accuracy:.0%}")
        if not self.neighbours_alike >= bar.neighbours_alike:
            raise BuildFailed(
                f"{self.neighbours_alike:.1%} of photos have a nearest neighbour of their kind; "
                f"the bar is {bar.neighbours_alike:.0%}"
            )


def neighbours_alike(embeddings: Embeddings, kinds: Kinds, *, gallery: Embeddings, gallery_kinds: Kinds) -> float:
    """The share of photos, embedded as [p, dimensions], whose nearest in the gallery is of their kind [p]."""
    nearest = (embeddings @ gallery.T).argmax(axis=1)
    return float((gallery_kinds[nearest] == kinds).mean())
