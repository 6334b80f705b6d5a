"""A group of equal nodes."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from isochrone.config.fields import DEVICE, Address, Section
from isochrone.config.tls import ServerTls


class NodeConfig(Section):
    """A group of equal nodes: processes that serve some variants on one device."""

    service: str = Field(min_length=1)
    """'recsys', 'vision', 'llm', 'toy', or the dotted name of a module to run."""
    replicas: int = Field(default=1, ge=1, le=256)
    device: str = Field(default="cpu", pattern=DEVICE)
    listen: Address | None = None
    """Where routers link to it; unset: a Unix socket under `isochrone up`, else 127.0.0.1 and a free port.
    With replicas, each takes the next port."""
    api: Address | None = None
    """Where it serves its models' own API, health and reflection over gRPC; unset: beside `listen`, on a socket
    with `.api` at its end or a free port. With replicas, each takes the next port."""
    tls: ServerTls | None = None
    """TLS at `api`; unset: with the certificate of `mesh_tls`, where that is given, for callers of its CA."""
    advertise: Address | None = None
    """The address that routers dial, where it differs from `listen`."""
    nice: int = Field(default=0, ge=0, le=19)
    """How far it stands back for others on cores that they share: its processes' niceness above that of whoever starts
    them."""
    drain_s: float = Field(default=10, gt=0, le=600)
    options: dict[str, Any] = Field(default_factory=dict)
    """The service's own settings."""
