"""A product page on the screen, as it comes."""

from __future__ import annotations

from collections.abc import Mapping

from rich.live import Live

from isochrone.cli import page_view
from isochrone.cli.page_view import Legs, Titles
from isochrone.cli.product_page import PageSoFar
from isochrone.cli.screen import out
from isochrone.client import Client, Leg


async def show_page(client: Client, legs: Mapping[str, Leg], titles: Titles, *, timeout_s: float) -> PageSoFar:
    """Asks for the page and prints it; in a terminal while it comes. Raises isochrone.errors."""
    so_far = PageSoFar(legs)
    with Live(console=out, auto_refresh=False, transient=True) as live:
        async for part in client.fan_out_stream(legs, timeout_s=timeout_s):
            so_far.take(part)
            if out.is_terminal:
                live.update(page_view.page(so_far, titles), refresh=True)
    out.print(page_view.page(so_far, titles))
    out.print(Legs(so_far))
    return so_far
