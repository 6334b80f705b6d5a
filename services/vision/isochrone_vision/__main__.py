"""Runs a vision node."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.config import MeshConfig, NodeConfig
from isochrone.model import Model
from isochrone.node.main import main
from isochrone_vision.model import Eye
from isochrone_vision.settings import options_of


def make_models(config: MeshConfig, node: NodeConfig) -> Sequence[Model]:
    options = options_of(node)
    return [Eye(config.models / options.variant, threads=options.threads, device=node.device)]


if __name__ == "__main__":
    main("isochrone_vision", make_models)
