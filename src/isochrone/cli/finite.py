"""Numbers of the command line that have to be ones: typer takes "inf" for a number, and no clock does."""

from __future__ import annotations

import math

import typer


def finite(given: float | None) -> float | None:
    """A callback of an option. Raises typer.BadParameter."""
    if given is not None and not math.isfinite(given):
        raise typer.BadParameter(f"{given} is no number that can be waited for")
    return given
