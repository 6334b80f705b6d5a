"""Options of a vision node."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from isochrone.config import NodeConfig, validated


class VisionOptions(BaseModel):
    """`options` of a node group with `service: vision`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str = Field(default="eye.fp32", pattern=r"^[\w.-]+$")
    """Which of the built models to serve: a folder under `models`."""
    threads: int = Field(default=1, ge=1, le=256)
    """Threads of one forward call. One per core, and a node per core, serves the most."""


def options_of(node: NodeConfig) -> VisionOptions:
    """The group's options, checked. Raises ConfigError."""
    return validated(VisionOptions, node.options, where=lambda _: f"nodes: options of a {node.service} node")
