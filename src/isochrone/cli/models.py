"""`isochrone models`: the models that this project makes itself, and which of them are built."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from isochrone.cli.screen import err, examples, out
from isochrone.errors import ConfigError

app = typer.Typer(help="Build the models that the mesh serves, or list them.", no_args_is_help=True)

DEFAULT_FOLDER = Path(".isochrone/models")
_Folder = Annotated[Path, typer.Option(help="Where models are put, as in the mesh's file.")]


@app.command(
    "build",
    epilog=examples(
        ("all that are missing or out of date", "isochrone models build"),
        ("one of them, whatever is there", "isochrone models build ranker.fp32 --force"),
        ("for a mesh that has its models elsewhere", "isochrone models build --models /srv/models"),
    ),
)
def build(
    variants: Annotated[list[str] | None, typer.Argument(metavar="[VARIANT]...", help="Which ones; all.")] = None,
    models: _Folder = DEFAULT_FOLDER,
    force: Annotated[bool, typer.Option("--force", "-f", help="Build also what is current.")] = False,
) -> None:
    """Train and export models, less than a minute each. Those that are current are left alone.

    Nothing is downloaded: they learn from a generated shop whose visitors' preferences are known.
    """
    # Torch's threads would spin while they wait for each other, and take many times as long where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    builds = _recsys().BUILDS
    unknown = sorted(set(variants or ()) - set(builds))
    if unknown:
        raise ConfigError(f"no such model: {', '.join(unknown)}; there are: {', '.join(sorted(builds))}")
    for variant in variants or builds:
        folder = models / variant
        if _recsys().is_current(folder) and not force:
            err.print(f"[green]✓[/] {variant} is current in {folder}", soft_wrap=True)
            continue
        err.print(f"Building {variant} in {folder}", soft_wrap=True)
        report = builds[variant](folder, console=err)
        size = f"{report.size_bytes / 2**20:.1f} MB"
        err.print(f"[green]✓[/] {variant} built in {report.seconds:.0f} s, {size}", soft_wrap=True)


@app.command(
    "list",
    epilog=examples(
        ("what is built", "isochrone models list"),
        ("somewhere else", "isochrone models list --models /srv/models"),
    ),
)
def list_models(models: _Folder = DEFAULT_FOLDER) -> None:
    """Show which models are built, whether they are current, and how good they are."""
    from rich.table import Table

    from isochrone_recsys.manifest import Manifest

    table = Table("variant", "state", "AUC", "oracle's", "popularity's", "size", box=None, header_style="dim")
    for variant in _recsys().BUILDS:
        folder = models / variant
        try:
            metrics = Manifest.read(folder).metrics
        except ConfigError:
            table.add_row(variant, "[yellow]not built[/]")
            continue
        state = "[green]current[/]" if _recsys().is_current(folder) else "[yellow]out of date[/]"
        figures = (metrics.get(key) for key in ("auc", "oracle_auc", "popularity_auc"))
        size_bytes = sum(path.stat().st_size for path in folder.iterdir())
        told = ("-" if figure is None else f"{figure:.4f}" for figure in figures)
        table.add_row(variant, state, *told, f"{size_bytes / 2**20:.1f} MB")
    out.print(table)


def _recsys() -> ModuleType:
    """isochrone_recsys.build. Raises ConfigError where the service isn't installed."""
    try:
        import isochrone_recsys.build
    except ModuleNotFoundError as error:
        raise ConfigError(f"the recsys service needs {error.name}: pip install 'isochrone[recsys,build]'") from None
    return isochrone_recsys.build
