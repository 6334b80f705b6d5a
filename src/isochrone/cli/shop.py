"""What the demo asks the mesh: rankings for visitors of the generated shop that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from google.protobuf.json_format import MessageToJson

from isochrone.config import MeshConfig
from isochrone.errors import ConfigError
from isochrone.v1.recsys_pb2 import RankRequest
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.samples import Samples

RANK = "isochrone.v1.Recsys/Rank"
_DRAWN = 256
_TOLD = 4


@dataclass(frozen=True, slots=True)
class Shop:
    """A built model's visitors and goods."""

    catalogue: Catalogue
    samples: Samples

    @classmethod
    def open(cls, directory: Path) -> Shop:
        """The shop of the model built in `directory`. Raises ConfigError where there is none."""
        return cls(Catalogue.load(directory), Samples.load(directory))

    @classmethod
    def of(cls, config: MeshConfig) -> Shop:
        """The shop that a mesh ranks for. Raises ConfigError where it ranks for none, or its model isn't built."""
        if RANK not in config.routes:
            raise ConfigError(f"routes: the mesh doesn't serve {RANK}")
        return cls.open(config.models / config.routes[RANK].lanes[0].rpartition("@")[0])

    def a_request(self, candidates: int) -> RankRequest:
        """Of a visitor who has looked at a few things already."""
        return next(r for r in self.samples.requests(rows=candidates, top_k=10) if len(r.user.recent_items) >= _TOLD)

    def about(self, request: RankRequest) -> str:
        """Who asks, in words."""
        return "lately looked at: " + "; ".join(self.titles(request.user.recent_items[:_TOLD]))

    def titles(self, item_ids: Iterable[int]) -> list[str]:
        return [self.catalogue.title(item_id) for item_id in item_ids]

    def requests(self, candidates: int) -> Iterator[bytes]:
        """Encoded requests of many visitors, over and over: drawn beforehand, so that sending costs little."""
        drawn = islice(self.samples.requests(rows=candidates, seed=1, top_k=20), _DRAWN)
        return cycle([request.SerializeToString() for request in drawn])


def as_json(request: RankRequest) -> str:
    """As `isochrone call --json` takes it."""
    return MessageToJson(request, preserving_proto_field_name=True, indent=None)
