"""Certificates: what a process shows of itself, and whom it believes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator

from isochrone.config.fields import Section, matching

HOST = re.compile(r"^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$")


class ServerTls(Section):
    """TLS for what others connect to: a router's gRPC address and its admin port, a node's own API. Files are PEM, and
    are read again when they have changed."""

    certificate: Path
    """Of this server, and after it those between it and its CA."""
    key: Path
    client_ca: Path | None = None
    """Clients' certificates are of one of these CAs."""
    clients: Literal["none", "required"] = "none"
    """Whether clients show a certificate of theirs (mTLS)."""

    @model_validator(mode="after")
    def _required_of_a_ca(self) -> ServerTls:
        if self.clients == "required" and self.client_ca is None:
            raise ValueError("clients: required needs client_ca: the CA of the callers' certificates")
        if self.clients == "none" and self.client_ca is not None:
            raise ValueError("client_ca is asked of nobody; clients: required asks for it")
        return self


class MeshTls(Section):
    """TLS between routers and nodes, always mutual: both ends of a link show a certificate of that CA, for `name`.
    Nodes' own APIs show it too, unless they have a `tls` of their own."""

    certificate: Path
    key: Path
    ca: Path
    name: Annotated[str, matching(HOST, "shop.internal")] | None = None
    """What every certificate of the mesh names, among its DNS names; unset: the mesh's name."""
