"""Runs an llm node."""

from __future__ import annotations

from collections.abc import Sequence

from isochrone.config import MeshConfig, NodeConfig
from isochrone.model import StreamModel
from isochrone.node.main import main
from isochrone_llm.model import Writer
from isochrone_llm.settings import options_of


def make_models(config: MeshConfig, node: NodeConfig) -> Sequence[StreamModel]:
    options = options_of(node)
    return [
        Writer(
            config.models / options.variant,
            device=node.device,
            threads=options.threads,
            max_seqs=options.max_seqs,
            max_context=options.max_context,
            kv_tokens=options.kv_tokens,
            say_every_s=options.chunk_ms / 1e3,
        )
    ]


if __name__ == "__main__":
    main("isochrone_llm", make_models)
