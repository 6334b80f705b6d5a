"""Runs a toy node, from a configuration whose node group has `service: toy`."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.config import MeshConfig, NodeConfig
from isochrone.model import Model, StreamModel
from isochrone.node.main import main
from isochrone.testing.journal import Journal
from isochrone.testing.models import EchoModel, RepeatModel, SleepModel
from isochrone.testing.toy.settings import ToyOptions, options_of


def make_models(config: MeshConfig, node: NodeConfig) -> Sequence[Model | StreamModel]:
    options: ToyOptions = options_of(node)
    journal = Journal(options.journal) if options.journal else None
    return [
        EchoModel(batch_jobs=options.echo_jobs),
        SleepModel(
            sleep_ms=options.sleep_ms,
            unit_ms=options.unit_ms,
            decode_ms=options.decode_ms,
            batch_jobs=options.batch_jobs,
            journal=journal,
        ),
        RepeatModel(step_ms=options.step_ms, slots=options.slots),
    ]


if __name__ == "__main__":
    main("isochrone.testing.toy", make_models)
