"""How well a ranker orders what visitors it has not seen will click, beside the best and the simplest orders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isochrone.building.making import BuildFailed
from isochrone_recsys.build.recipe import Bar


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Areas under the ROC curve, over all items shown in all held-out visits; 0.5 is chance."""

    model: float
    oracle: float
    """Of the true probability of a click: no ranker can do better, and what it knows is partly hidden."""
    popularity: float
    """Of each item's click rate over everybody: ranking with no regard to who is asking."""

    @property
    def oracle_lift(self) -> float:
        """The part of the oracle's advantage over chance that the model has."""
        return (self.model - 0.5) / (self.oracle - 0.5)

    @property
    def metrics(self) -> dict[str, float]:
        """As the manifest has them."""
        return {
            "auc": self.model,
            "oracle_auc": self.oracle,
            "popularity_auc": self.popularity,
            "oracle_lift": self.oracle_lift,
        }

    def check(self, bar: Bar) -> None:
        """Raises BuildFailed where the model is below the bar."""
        if self.oracle_lift < bar.oracle_lift:
            raise BuildFailed(
                f"the model has {self.oracle_lift:.1%} of the oracle's lift; the bar is {bar.oracle_lift:.0%}"
            )
        if self.model - self.popularity < bar.over_popularity:
            raise BuildFailed(
                f"the model's AUC is {self.model:.3f}, popularity's {self.popularity:.3f}; "
                f"the bar is {bar.over_popularity:.2f} above it"
            )


def auc(scores: npt.NDArray[np.floating], clicked: npt.NDArray[np.bool_]) -> float:
    """The chance that a clicked one [n] scores above one that wasn't, equal scores counting half.

    Raises ValueError where all were clicked, or none.
    """
    positives = int(clicked.sum())
    negatives = clicked.size - positives
    if not positives or not negatives:
        raise ValueError("AUC needs both clicks and none")
    _, group, sizes = np.unique(scores.ravel(), return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(sizes) - (sizes - 1) / 2  # of each group of equal scores, from 1
    positive_ranks = float(mean_rank[group.ravel()][clicked.ravel()].sum())
    return (positive_ranks - positives * (positives + 1) / 2) / (positives * negatives)
