"""placeholder"""

from __future__ import annotations
import typer

app = typer.Typer(help="x", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """x"""


@app.command("build")
def build() -> None:
    """x"""
