"""The items a model knows: from the shop's ids to the model's indices, and to titles for people."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from isochrone_recsys.manifest import CATALOGUE, Manifest

UNKNOWN = -1
"""The index of an id that isn't in the catalogue."""
_DIRECT_MAX_ID = 2**24
"""Up to here ids are looked up in a table with a place for each (64 MiB at most); past it, by bisection."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """n items. An item's index is its place in `ids`."""

    ids: npt.NDArray[np.uint32]
    """[n], strictly increasing, with gaps."""
    titles: npt.NDArray[np.str_]
    """[n], "linen shirt, blue"."""
    _places: npt.NDArray[np.int32] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", _direct_table(self.ids))

    @classmethod
    def load(cls, directory: Path) -> Catalogue:
        """The catalogue of the model built in `directory`. Raises ConfigError where it isn't there, or another."""
        manifest = Manifest.read(directory)
        with np.load(io.BytesIO(manifest.read_file(directory, CATALOGUE)), allow_pickle=False) as arrays:
            return cls(ids=arrays["ids"], titles=arrays["titles"])

    def save(self, directory: Path) -> None:
        np.savez(directory / CATALOGUE, ids=self.ids, titles=self.titles)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"<Catalogue of {len(self):,} items, ids {self.ids[0]} to {self.ids[-1]}>"

    def indices(self, ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
        """[m] indices of the ids [m], UNKNOWN for those that aren't in the catalogue.

        Bisection costs 0.1 µs an id, mostly mispredicted branches; the table of places a few ns.
        """
        if self._places is not None:
            return self._places.take(ids, mode="clip")
        found = np.minimum(self.ids.searchsorted(ids), len(self.ids) - 1)
        return np.where(self.ids[found] == ids, found, UNKNOWN).astype(np.int32)

    def title(self, item_id: int) -> str:
        """How people know the item. Raises KeyError for an id that isn't in the catalogue."""
        index = int(self.indices(np.array([item_id], np.uint32))[0])
        if index == UNKNOWN:
            raise KeyError(item_id)
        return str(self.titles[index])


def _direct_table(ids: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32] | None:
    """[largest id + 2], each id's index at its place; the last place, where larger ids are clipped to, is no id's."""
    if ids[-1] > _DIRECT_MAX_ID:
        return None
    places = np.full(int(ids[-1]) + 2, UNKNOWN, np.int32)
    places[ids] = np.arange(len(ids), dtype=np.int32)
    return places
