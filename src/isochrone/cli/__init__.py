"""The `isochrone` command: one file for each of its subcommands.

Imports at the top of these files are light, the heavy ones stand in the functions that need them: `--help` is
there before a person notices.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence

from isochrone.cli.app import app
from isochrone.cli.failure import exit_code, tell
from isochrone.errors import IsochroneError


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0, or the code of what went wrong, which is said in a line."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal without µ gets a question mark, not a traceback
            stream.reconfigure(errors="replace")
    try:
        app(args=None if arguments is None else list(arguments), prog_name="isochrone")
    except IsochroneError as error:
        tell(error)
        raise SystemExit(exit_code(error)) from None
    except BrokenPipeError:  # `isochrone … | head`
        raise SystemExit(141) from None
