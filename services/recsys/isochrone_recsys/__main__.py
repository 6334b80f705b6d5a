"""Runs a recsys node."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.config import MeshConfig, NodeConfig
from isochrone.model import Model
from isochrone.node.main import main
from isochrone_recsys.model import Ranker
from isochrone_recsys.settings import options_of


def make_models(config: MeshConfig, node: NodeConfig) -> Sequence[Model]:
    options = options_of(node)
    return [Ranker(config.models / options.variant, threads=options.threads, device=node.device)]


if __name__ == "__main__":
    main("isochrone_recsys", make_models)
