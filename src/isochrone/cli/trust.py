"""The options of commands that dial a router or a node: whom they believe, and what they show of themselves."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ssl import SSLContext

    from isochrone.client import Tls

_PANEL = "TLS"
Ca = Annotated[
    str | None,
    typer.Option(
        envvar="ISOCHRONE_CA",
        help="Believe servers of this CA, a file; 'system': of the usual ones. Without: plain text.",
        rich_help_panel=_PANEL,
    ),
]
Certificate = Annotated[
    str | None,
    typer.Option(
        envvar="ISOCHRONE_CERTIFICATE",
        help="What to show where a certificate is asked for, a file.",
        rich_help_panel=_PANEL,
    ),
]
Key = Annotated[str | None, typer.Option(envvar="ISOCHRONE_KEY", help="Its key, a file.", rich_help_panel=_PANEL)]
ServerName = Annotated[
    str | None,
    typer.Option(
        envvar="ISOCHRONE_SERVER_NAME",
        help="What the server's certificate names, where not the host that is dialled.",
        rich_help_panel=_PANEL,
    ),
]


def tls_of(ca: str | None, certificate: str | None, key: str | None, server_name: str | None) -> Tls | bool:
    """What a client takes as `tls`. Raises ConfigError."""
    from isochrone.client import Tls

    return Tls.given(ca=ca, certificate=certificate, key=key, name=server_name) or False


def context_of_environment() -> SSLContext | None:
    """By what the options go by where they aren't given."""
    return context_of(*(os.environ.get(f"ISOCHRONE_{name}") or None for name in ("CA", "CERTIFICATE", "KEY")))


def context_of(ca: str | None, certificate: str | None, key: str | None) -> SSLContext | None:
    """The same for an admin port; None where nothing is given. Raises ConfigError."""
    import ssl

    from isochrone.errors import ConfigError

    if (certificate is None) != (key is None):
        raise ConfigError("TLS: certificate and key come together")
    if ca is None and certificate is None:
        return None
    try:
        context = ssl.create_default_context(cafile=None if ca == "system" else ca)
        if certificate is not None:
            context.load_cert_chain(certificate, key, password=lambda: b"")
    except OSError as error:  # ssl.SSLError is one
        told = ", ".join(path for path in (ca, certificate, key) if path is not None)
        raise ConfigError(f"TLS: {told}: {error}") from error
    return context
