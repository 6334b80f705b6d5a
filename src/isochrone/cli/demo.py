"""`isochrone demo`: a whole mesh on this machine, one product page with its budgets, and a few seconds of load."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from isochrone.cli.finite import finite
from isochrone.cli.screen import examples, out
from isochrone.cli.trust import Ca, Certificate, Key, ServerName, tls_of
from isochrone.cli.where import mesh_file

EPILOG = examples(
    ("all of it; stays up until Ctrl-C", "isochrone demo"),
    ("harder, for longer", "isochrone demo --rate 600 --seconds 20"),
    ("in a script: leaves by itself, 0 if everything worked", "CI=true isochrone demo"),
)


def demo(
    config: Annotated[Path | None, typer.Argument(help="The mesh's file; deploy/mesh.yaml or mesh.yaml.")] = None,
    seconds: Annotated[float, typer.Option(min=0.5, callback=finite, help="How long the load lasts.")] = 5.0,
    rate: Annotated[
        float | None, typer.Option(min=1, help="Rankings a second; a fifth of what there is room for.")
    ] = None,
    build: Annotated[bool, typer.Option(help="Build models that are missing or out of date first.")] = True,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
) -> None:
    """See the mesh at work: build the models, start everything, ask for a product page, load it, read where time went.

    In a terminal it stays up afterwards, for you to play with; Ctrl-C ends it. Elsewhere, or with CI set, it leaves.
    """
    import uvloop

    from isochrone.cli.show import Show
    from isochrone.config import load_config

    path = mesh_file(config)
    stays = out.is_terminal and not os.environ.get("CI")
    tls = tls_of(ca, certificate, key, server_name)
    show = Show(load_config(path), path, seconds=seconds, rate_per_s=rate, stays=stays, tls=tls)
    if build:
        show.build_models()
    raise typer.Exit(uvloop.run(show.run()))
