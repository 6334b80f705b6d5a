"""What a failure looks like on the command line: a readable line, and an exit code for programs."""

from __future__ import annotations

from rich.markup import escape

from isochrone.cli.screen import err
from isochrone.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    IsochroneError,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    UnknownRoute,
    UnknownVariant,
)

EXIT_CODES: dict[type[IsochroneError], int] = {
    ConfigError: 2,
    InvalidRequest: 3,
    UnknownRoute: 4,
    UnknownVariant: 5,
    DeadlineExceeded: 6,
    Cancelled: 7,
    Overloaded: 8,
    Unavailable: 9,
    Internal: 10,
    Unauthenticated: 11,
    PermissionDenied: 12,
}
"""Like gRPC's own codes they say who must act; 1 is everything else, 2 also a wrong command line."""


def exit_code(error: IsochroneError) -> int:
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def tell(error: IsochroneError) -> None:
    """Says on stderr what went wrong, with the fields that are wrong and when to try again."""
    err.print(f"[bold red]{_title(error)}[/] {escape(error.message)}", soft_wrap=True)
    for violation in getattr(error, "violations", ()):
        if violation.field not in error.message:  # else the message says it all
            err.print(f"  [yellow]{escape(violation.field)}[/]  {escape(violation.description)}", soft_wrap=True)
    if isinstance(error, Overloaded):
        err.print(f"  try again in {error.retry_after_s * 1e3:.0f} ms")


def _title(error: IsochroneError) -> str:
    """ "InvalidRequest" as "invalid request:"."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in type(error).__name__)
    return f"{words.strip()}:"
