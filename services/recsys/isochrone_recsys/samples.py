"""Realistic requests for demos and benchmarks: visitors the model was not trained on, and what to rank for them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isochrone.v1.recsys_pb2 import RankRequest, User
from isochrone_recsys.manifest import SAMPLES, Manifest

_OF_INTEREST = 8.0
"""How much likelier an item is a candidate for whoever looked at its kind of late."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """v visitors, and what is needed of the n items to draw candidates for them."""

    dense: npt.NDArray[np.float32]
    """[v, dense features]."""
    categories: npt.NDArray[np.int64]
    """[v, categorical features]."""
    recent: npt.NDArray[np.int64]
    """[v, recent items], item indices, latest first, padded with n."""
    ids: npt.NDArray[np.uint32]
    """[n]."""
    kinds: npt.NDArray[np.int64]
    """[n], what kind of thing each item is."""
    exposure: npt.NDArray[np.float64]
    """[n], how often the shop shows each item."""

    @classmethod
    def load(cls, directory: Path) -> Samples:
        """The samples of the model built in `directory`. Raises ConfigError where they aren't there, or others."""
        content = Manifest.read(directory).read_file(directory, SAMPLES)
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return cls(**arrays)

    def save(self, directory: Path) -> None:
        np.savez(directory / SAMPLES, **asdict(self))

    def requests(self, *, rows: int, seed: int = 0, top_k: int = 0) -> Iterator[RankRequest]:
        """Requests of `rows` different candidates each, without end; the same for the same seed.

        Drawing costs some 0.5 ms a request, so a benchmark draws its requests before it starts.
        """
        rng = np.random.default_rng(seed)
        while True:
            yield self._request(int(rng.integers(len(self.dense))), rng, rows, top_k)

    def request_of(self, visitor: int, *, rows: int, top_k: int = 0) -> RankRequest:
        """A request of `rows` different candidates for the visitor of that number, always the same."""
        return self._request(visitor, np.random.default_rng(visitor), rows, top_k)

    def candidates_for(self, recent_ids: Sequence[int], *, rows: int) -> list[int]:
        """Item ids for somebody who looked at those of late; ids that the shop hasn't got count for nothing."""
        places = {int(id): place for place, id in enumerate(self.ids)}
        recent = np.array([places[id] for id in recent_ids if id in places], dtype=np.int64)
        return self._candidates(recent, np.random.default_rng(0), rows)

    def _request(self, visitor: int, rng: np.random.Generator, rows: int, top_k: int) -> RankRequest:
        recent = self.recent[visitor]
        recent = recent[recent < len(self.ids)]
        return RankRequest(
            user=User(
                dense=self.dense[visitor].tolist(),
                categories=self.categories[visitor].tolist(),
                recent_items=self.ids[recent].tolist(),
            ),
            item_ids=self._candidates(recent, rng, rows),
            top_k=top_k,
        )

    def _candidates(self, recent: npt.NDArray[np.int64], rng: np.random.Generator, rows: int) -> list[int]:
        """As a retrieval stage would give them: items that sell, rather of the kinds that were looked at of late."""
        liked = np.zeros(int(self.kinds.max()) + 1)
        liked[self.kinds[recent]] = np.log(_OF_INTEREST)
        # The largest of weights in the logarithm plus Gumbel noise are a draw without replacement by weight.
        keys = np.log(self.exposure) + liked[self.kinds] + rng.gumbel(size=len(self.ids))
        chosen = keys.argpartition(-rows)[-rows:] if rows < len(keys) else np.arange(len(keys))
        ids: list[int] = self.ids[chosen].tolist()
        return ids


def sample_requests(directory: Path, *, rows: int, seed: int = 0, top_k: int = 0) -> Iterator[RankRequest]:
    """`Samples.requests` of the model built in `directory`. Raises ConfigError where there is none."""
    return Samples.load(directory).requests(rows=rows, seed=seed, top_k=top_k)
