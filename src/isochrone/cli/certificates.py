"""`isochrone certificates`: a private CA, and certificates of it for a mesh and its callers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from isochrone.cli.screen import err, examples, out

EPILOG = (
    examples(
        ("for a mesh on this machine", "isochrone certificates certificates"),
        ("for one that callers reach by other names", "isochrone certificates certificates --host mesh.shop.internal"),
        ("for callers, each by its name", "isochrone certificates certificates --caller checkout --caller search"),
        ("new ones of the same CA, before they expire", "isochrone certificates certificates"),
    )
    + "\n\nProcesses read their files again when these have changed: nothing needs a restart."
)
_LOCAL = ("localhost", "127.0.0.1", "::1")


def certificates(
    folder: Annotated[Path, typer.Argument(help="Where they are written, and the CA is kept.")],
    mesh: Annotated[str, typer.Option(help="What the mesh's certificates name: its name, or mesh_tls.name.")] = (
        "isochrone"
    ),
    host: Annotated[
        list[str] | None, typer.Option(help="A name or IP address by which the router is reached; besides localhost.")
    ] = None,
    caller: Annotated[list[str] | None, typer.Option(help="A caller that gets a certificate of its own.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long they are valid; the CA ten times that.")] = 90,
) -> None:
    """Make a private CA (once) and certificates of it: mesh.crt for links, router.crt for callers to connect to, and
    one for each caller. The lines to put into the mesh's file come on stdout.

    The CA's key is written unprotected: whoever has it can be anybody. Where you have a CA, use that.
    """
    from datetime import timedelta

    from isochrone.certificates import today
    from isochrone.errors import ConfigError
    from isochrone.issuing import Authority, write

    for name in caller or ():
        if name in ("ca", "mesh", "router") or not re.fullmatch(r"[\w.-]*\w", name):
            raise ConfigError(f"--caller {name}: would be written to {folder / name}.crt; take another name")
    now, lifetime = today(), timedelta(days=days)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "ca.key").exists():
            authority = Authority.read(folder / "ca.crt", folder / "ca.key")
        else:
            authority = Authority.made(f"{mesh} CA", now=now, lifetime=10 * lifetime)
            write(folder, "ca", authority.certificate, authority.key)
            err.print(f"[green]✓[/] a new CA: {folder / 'ca.crt'}", soft_wrap=True)
        wanted = {"mesh": (mesh, [mesh]), "router": ("router", [*dict.fromkeys((*_LOCAL, *(host or ())))])}
        wanted |= {name: (name, [name]) for name in caller or ()}
        for name, (common, names) in wanted.items():
            write(folder, name, *authority.issue(common, names, begins=now, lifetime=lifetime))
            err.print(f"[green]✓[/] {folder / name}.crt for {', '.join(names)}, {days} days", soft_wrap=True)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from error
    except ValueError as error:
        raise ConfigError(f"no certificate can have that name: {error}") from error
    out.print(_lines(folder, mesh), markup=False, soft_wrap=True)


def _lines(folder: Path, mesh: str) -> str:
    name = "" if mesh == "isochrone" else f", name: {mesh}"
    return (
        f"mesh_tls: {{certificate: {folder}/mesh.crt, key: {folder}/mesh.key, ca: {folder}/ca.crt{name}}}\n"
        f"router:\n"
        f"  tls: {{certificate: {folder}/router.crt, key: {folder}/router.key,\n"
        f"        client_ca: {folder}/ca.crt, clients: required}}"
    )
