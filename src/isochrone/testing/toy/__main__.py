"""Runs a toy node, from a configuration whose node group has `service: toy`."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.config import MeshConfig, NodeConfig
from isochrone.model import Model, StreamModel
from isochrone.node.main import main
from isochrone.testing.journal import Journal
from isochrone.testing.models import EchoModel, RepeatModel, SleepModel
from isochrone.testing.pace import Pace
from isochrone.testing.toy.settings import ToyOptions, options_of


def make_models(config: MeshConfig, node: NodeConfig) -> Sequence[Model | StreamModel]:
    options: ToyOptions = options_of(node)
    journal = Journal(options.journal) if options.journal else None
    pace = Pace(spread=options.spread, file=options.pace_file)

    def sleeper(variant: str, sleep_ms: float) -> SleepModel:
        return SleepModel(
            variant=variant,
            sleep_ms=sleep_ms,
            unit_ms=options.unit_ms,
            decode_ms=options.decode_ms,
            batch_jobs=options.batch_jobs,
            max_units=options.max_units,
            journal=journal,
            pace=pace,
        )

    sleepers = [sleeper("sleep", options.sleep_ms)]
    if options.small_ms is not None:
        sleepers.append(sleeper("sleep.small", options.small_ms))
    return [
        EchoModel(batch_jobs=options.echo_jobs),
        *sleepers,
        RepeatModel(step_ms=options.step_ms, slots=options.slots),
    ]


if __name__ == "__main__":
    main("isochrone.testing.toy", make_models)
