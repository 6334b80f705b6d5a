"""`isochrone token`: a new token for a caller, and what the configuration gets of it."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from isochrone.cli.screen import err, examples, out

ENVIRONMENT = "ISOCHRONE_TOKEN"

EPILOG = examples(
    ("a token for the shop's backend", "isochrone token shop"),
    ("straight into a file", "isochrone token shop > shop.token"),
    ("use it", f"{ENVIRONMENT}=$(cat shop.token) isochrone call Recsys/Rank"),
) + (
    "\n\nThe token goes to stdout, once, and nowhere else; what the configuration needs goes to stderr. "
    "From it nobody can make the token."
)


def token(
    caller: Annotated[str, typer.Argument(help="The caller's name in the configuration.")] = "NAME",
) -> None:
    """Make a token for a caller: 256 random bits, of which the configuration has the hash."""
    from isochrone.credentials import hash_of, new_token

    made = new_token()
    out.print(made, soft_wrap=True, markup=False, highlight=False)
    err.print("Give it to the caller now: it is kept nowhere. In the configuration:\n", style="dim")
    told = f"callers:\n  {caller}:\n    tokens:\n      - {hash_of(made)}"
    err.print(told, soft_wrap=True, markup=False, highlight=False)


def token_of_environment() -> str | None:
    """The token that commands show the mesh. Raises InvalidRequest for one that can't be sent."""
    from isochrone.credentials import could_be_token, why_no_token
    from isochrone.errors import InvalidRequest

    given = os.environ.get(ENVIRONMENT)
    if not given:
        return None
    if not could_be_token(given):
        raise InvalidRequest(f"{ENVIRONMENT} can't be shown as a token: {why_no_token(given)}")
    return given
