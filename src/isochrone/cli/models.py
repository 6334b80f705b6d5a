"""`isochrone models`: the models that this project makes itself, and which of them are built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.markup import escape

from isochrone.building.pace import Pace
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
    """Train and export models, about a minute each. Those that are current are left alone.

    Nothing is downloaded: they learn from a generated shop, its visitors and photos of its goods.
    """
    # Torch's threads would spin while they wait for each other, and take many times as long where cores are shared.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    builders = {variant: made for made in _SERVICES for variant in made.build.BUILDS}
    unknown = sorted(set(variants or ()) - set(builders))
    if unknown:
        raise ConfigError(f"no such model: {', '.join(unknown)}; there are: {', '.join(sorted(builders))}")
    for variant in variants or builders:
        folder, build = models / variant, builders[variant].build
        if build.is_current(folder) and not force:
            err.print(f"[green]✓[/] {variant} is current in {folder}", soft_wrap=True)
            if Pace.read(folder) is None:
                _measure(builders[variant].package, folder)
            continue
        err.print(f"Building {variant} in {folder}", soft_wrap=True)
        try:
            models.mkdir(parents=True, exist_ok=True)  # before a minute of training is spent
            report = build.BUILDS[variant](folder, console=err)
        except OSError as error:
            raise ConfigError(f"{error.filename or folder}: {error.strerror or error}") from error
        size = f"{report.size_bytes / 2**20:.1f} MB"
        err.print(f"[green]✓[/] {variant} built in {report.seconds:.0f} s, {size}", soft_wrap=True)
        _measure(builders[variant].package, folder)


def _measure(package: str, folder: Path) -> None:
    """Notes how long the model takes here, for `isochrone check` to compare objectives with."""
    from isochrone.cli.measure import measure

    try:
        pace = measure(package, folder)
        pace.write(folder)
    except (ConfigError, ModuleNotFoundError, OSError) as error:  # it is built all the same
        err.print(f"  [yellow]not measured:[/] {escape(str(error))}", soft_wrap=True)
        return
    err.print(f"  takes {pace.ms:.3g} ms for one of its {pace.unit} on this {pace.device}", soft_wrap=True)


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

    table = Table("variant", "state", "quality", "size", box=None, header_style="dim")
    for service in _SERVICES:
        for variant in service.build.BUILDS:
            folder = models / variant
            try:
                quality = service.quality(folder)
            except ConfigError:
                table.add_row(variant, "[yellow]not built[/]")
                continue
            state = "[green]current[/]" if service.build.is_current(folder) else "[yellow]out of date[/]"
            size_bytes = sum(path.stat().st_size for path in folder.iterdir())
            table.add_row(variant, state, quality, f"{size_bytes / 2**20:.1f} MB")
    out.print(table)


def variants_made_here() -> set[str]:
    """Of all models that this project makes itself."""
    return {variant for service in _SERVICES for variant in service.build.BUILDS}


@dataclass(frozen=True, slots=True)
class _Service:
    """A service that builds models: its package, and how `list` words what its manifests say of their quality."""

    package: str
    headlines: Mapping[str, str]
    """By metric, a format for its value."""

    @property
    def build(self) -> ModuleType:
        """Its `build` module, which has BUILDS and `is_current`. Raises ConfigError where it can't be imported."""
        try:
            return import_module(f"{self.package}.build")
        except ModuleNotFoundError as error:
            name = self.package.removeprefix("isochrone_")
            raise ConfigError(f"the {name} service needs {error.name}: pip install 'isochrone[{name},build]'") from None

    def quality(self, folder: Path) -> str:
        """Of the model built there. Raises ConfigError where there is none."""
        metrics = import_module(f"{self.package}.manifest").Manifest.read(folder).metrics
        return ", ".join(words.format(metrics[name]) for name, words in self.headlines.items() if name in metrics)


_SERVICES = (
    _Service(
        "isochrone_recsys",
        {"auc": "AUC {:.4f}", "oracle_auc": "the oracle's {:.4f}", "popularity_auc": "popularity's {:.4f}"},
    ),
    _Service("isochrone_vision", {"accuracy": "{:.1%} named rightly", "neighbours_alike": "{:.1%} next to their kind"}),
    _Service("isochrone_llm", {"right": "{:.1%} by the grammar, with their attributes"}),
)
