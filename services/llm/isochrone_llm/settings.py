"""Options of an llm node."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from isochrone.config import NodeConfig, validated


class LlmOptions(BaseModel):
    """`options` of a node group with `service: llm`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str = Field(default="blurb.fp32", pattern=r"^[\w.-]+$")
    """Which model to serve: a folder under `models`, built here or in Hugging Face's format."""
    threads: int = Field(default=1, ge=1, le=256)
    """Threads of one step."""
    max_seqs: int = Field(default=8, ge=1, le=1024)
    """Texts that are made side by side. A step takes the longer the more there are, though far from as many times."""
    chunk_ms: float = Field(default=20.0, ge=0, le=1_000)
    """What comes of a text within that time is one chunk, but for the first token, which goes at once. Each chunk
    costs its handling all along the way, and nobody reads a token at a time. 0: a chunk for each."""
    max_context: int | None = Field(default=None, ge=16)
    """Tokens of a prompt and its completion together; unset: as many as the model has positions."""
    kv_tokens: int | None = Field(default=None, ge=16)
    """Tokens held for all texts together; unset: the whole context for each."""


def options_of(node: NodeConfig) -> LlmOptions:
    """The group's options, checked. Raises ConfigError."""
    return validated(LlmOptions, node.options, where=lambda _: f"nodes: options of a {node.service} node")
