"""The options of commands that dial a router or a node: whom they believe, and what they show of themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
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
