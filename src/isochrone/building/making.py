"""What a build is, how it shows its progress, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from isochrone.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

Advance = Callable[[int], object]
"""So many more are done."""
Step = Callable[[str, int], Advance]
"""A part of a build begins: what it is called, and how many there are to do."""


class BuildFailed(ConfigError):
    """A model came out worse than its bar, or other than it is to be served. Nothing was published."""

    reason = "BUILD_FAILED"


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What came of a build."""

    directory: Path
    variant: str
    metrics: Mapping[str, float]
    """Those of its manifest."""
    seconds: float
    size_bytes: int
    """Of all files."""


class Build(Protocol):
    """Builds one variant into a folder of its own, which it replaces whole or not at all."""

    def __call__(self, out_dir: Path, *, console: Console | None = None) -> BuildReport:
        """Raises BuildFailed where the model is below its bar, ConfigError where a package is missing."""


@contextmanager
def needing(service: str, packages: frozenset[str]) -> Iterator[None]:
    """Inside, one of those packages that isn't installed is a ConfigError that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in packages:
            raise
        raise ConfigError(f"building a model needs {package}: pip install 'isochrone[build,{service}]'") from error


@contextmanager
def progress(console: Console) -> Iterator[Step]:
    """Shows a bar for each step."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("  {task.description:<18}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:

        def step(description: str, total: int) -> Advance:
            task = bars.add_task(description, total=total)
            return lambda more: bars.advance(task, more)

        yield step
