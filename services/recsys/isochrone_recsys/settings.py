"""Options of a recsys node."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from isochrone.config import NodeConfig, validated


class RecsysOptions(BaseModel):
    """`options` of a node group with `service: recsys`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str = Field(default="ranker.fp32", pattern=r"^[\w.-]+$")
    """Which of the built models to serve: a folder under `models`."""
    threads: int = Field(default=1, ge=1, le=256)
    """Threads of one forward call. One per core, and a node per core, serves the most."""


def options_of(node: NodeConfig) -> RecsysOptions:
    """The group's options, checked. Raises ConfigError."""
    return validated(RecsysOptions, node.options, where=lambda _: f"nodes: options of a {node.service} node")
