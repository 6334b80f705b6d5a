"""Runs a toy node, from a configuration whose node group has `service: toy`."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.config import MeshConfig, NodeConfig
from isochrone.model import Model
from isochrone.node.main import main
from isochrone.testing.journal import Journal
from isochrone.testing.models import EchoModel, SleepModel
from isochrone.testing.toy.settings import ToyOptions, options_of


def make_models(config: MeshConfig, node: NodeConfig) -> Sequence[Model]:
    options: ToyOptions = options_of(node)
    return [
        EchoModel(batch_jobs=options.echo_jobs),
        SleepModel(
            sleep_ms=options.sleep_ms,
            unit_ms=options.unit_ms,
            batch_jobs=options.batch_jobs,
            journal=Journal(options.journal) if options.journal else None,
        ),
    ]


if __name__ == "__main__":
    main("isochrone.testing.toy", make_models)
