"""What the demo asks the mesh: rankings for visitors of the generated shop, photos of goods, texts about them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from google.protobuf.json_format import MessageToJson

from isochrone.cli.product_page import CLASSIFY, GENERATE, RANK
from isochrone.config import MeshConfig
from isochrone.errors import ConfigError
from isochrone.v1.recsys_pb2 import RankRequest
from isochrone_recsys.catalogue import Catalogue
from isochrone_recsys.samples import Samples

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
        folder = _folder_of(config, RANK)
        if folder is None:
            raise ConfigError(f"routes: the mesh doesn't serve {RANK}")
        return cls.open(folder)

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


def photos(config: MeshConfig) -> list[bytes]:
    """Files of photos that the mesh's eye was not trained on; none where it has no eye. Raises ConfigError."""
    folder = _folder_of(config, CLASSIFY)
    if folder is None:
        return []
    from isochrone_vision.samples import Samples as Photos

    return list(Photos.load(folder).photos)


def prompts(config: MeshConfig) -> list[str]:
    """Prompts that the mesh's language model was not trained on; none where it has none. Raises ConfigError."""
    folder = _folder_of(config, GENERATE)
    if folder is None:
        return []
    from isochrone_llm.samples import Samples as Prompts

    return list(Prompts.load(folder).prompts)


def _folder_of(config: MeshConfig, route: str) -> Path | None:
    """Where the model is that answers a route first; None where there is no such route."""
    if route not in config.routes:
        return None
    return config.models / config.routes[route].lanes[0].rpartition("@")[0]


def as_json(request: RankRequest) -> str:
    """As `isochrone call --json` takes it."""
    return MessageToJson(request, preserving_proto_field_name=True, indent=None)
