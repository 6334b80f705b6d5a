"""`isochrone page`: a product page of one's own photo and visitor, answered by the mesh in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isochrone.cli.finite import finite
from isochrone.cli.screen import examples, out
from isochrone.cli.token import token_of_environment
from isochrone.cli.trust import Ca, Certificate, Key, ServerName, tls_of
from isochrone.cli.where import mesh_file

if TYPE_CHECKING:
    from isochrone.cli.shop import Shop
    from isochrone.client import Client, Leg
    from isochrone.v1.recsys_pb2 import RankRequest

EPILOG = examples(
    ("a photo of yours, for a visitor of the generated shop", "isochrone page --image cup.jpg --user 17"),
    ("for a visitor you describe, in protobuf's JSON", "isochrone page --image cup.jpg --user @user.json"),
    ("a text about something else", "isochrone page --image cup.jpg --prompt 'name: mug | colour: red'"),
)
_MAX_IMAGE_BYTES = 32 * 2**20


def page(
    config: Annotated[Path | None, typer.Argument(help="The mesh's file; deploy/mesh.yaml or mesh.yaml.")] = None,
    image: Annotated[Path | None, typer.Option("--image", "-i", help="A JPEG, PNG or WebP file.")] = None,
    user: Annotated[str, typer.Option("--user", "-u", help="A visitor's number, or @FILE with a User.")] = "0",
    prompt: Annotated[str | None, typer.Option(help="What the text is about; else what is on the photo.")] = None,
    candidates: Annotated[int, typer.Option(min=1, max=1000, help="How many items are ranked.")] = 100,
    timeout_ms: Annotated[float, typer.Option(min=1, callback=finite, help="Deadline of the whole page.")] = 10_000,
    target: Annotated[str | None, typer.Option("--target", "-t", help="The router, where not the file's.")] = None,
    budget: Annotated[bool, typer.Option("--budget", "-b", help="Show each leg's stages in full.")] = False,
    ca: Ca = None,
    certificate: Certificate = None,
    key: Key = None,
    server_name: ServerName = None,
) -> None:
    """Answer a product page with one call: rank, name and place the photo, and write about it as you watch.

    Items and visitors are those of the shop that the ranker was trained on; the mesh has to be up.
    """
    import asyncio
    from functools import partial

    from isochrone.cli.product_page import page_legs
    from isochrone.cli.shop import Shop
    from isochrone.client import Client
    from isochrone.config import load_config
    from isochrone.errors import InvalidRequest

    loaded = load_config(mesh_file(config))
    shop = Shop.of(loaded)
    legs = page_legs(
        loaded.routes,
        ranking=_ranking(shop, user, candidates),
        image=_bytes_of(image) if image is not None else None,
        prompt=prompt,
    )
    if not legs:
        raise InvalidRequest("the mesh serves nothing that a page needs")
    tls = tls_of(ca, certificate, key, server_name)
    client = partial(Client, target or loaded.router.listen, tls=tls, token=token_of_environment())
    asyncio.run(_turn(client, legs, shop, timeout_ms / 1e3, in_full=budget))


async def _turn(
    make: Callable[[], Client], legs: dict[str, Leg], shop: Shop, timeout_s: float, *, in_full: bool
) -> None:
    from isochrone.cli.show_page import show_page
    from isochrone.cli.waterfall import Waterfall

    async with make() as client:
        page = await show_page(client, legs, shop.titles, timeout_s=timeout_s)
    if in_full:
        for leg in page.ended.values():
            if leg.budget is not None:
                out.print(f"\n[bold]{leg.name}[/]")
                out.print(Waterfall(leg.budget.report))
        traces = {leg.budget.trace_id for leg in page.ended.values() if leg.budget is not None}
        for trace_id in traces - {""}:
            out.print(f"\nisochrone explain {trace_id}", style="dim", soft_wrap=True)
    if not page.complete:
        raise typer.Exit(1)


def _ranking(shop: Shop, user: str, candidates: int) -> RankRequest:
    """Raises InvalidRequest for a user that can't be read."""
    from google.protobuf.json_format import Parse, ParseError

    from isochrone.errors import InvalidRequest
    from isochrone.v1.recsys_pb2 import RankRequest, User

    if not user.startswith("@"):
        visitors = len(shop.samples.dense)
        if not user.isdecimal() or int(user) >= visitors:
            raise InvalidRequest(f"--user {user}: 0 to {visitors - 1}, or @FILE")
        return shop.samples.request_of(int(user), rows=candidates, top_k=10)
    try:
        given = Parse(_bytes_of(Path(user[1:])), User())
    except (ParseError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"--user {user}: not a User as JSON: {str(error).splitlines()[0]}") from None
    item_ids = shop.samples.candidates_for(given.recent_items, rows=candidates)
    return RankRequest(user=given, item_ids=item_ids, top_k=10)


def _bytes_of(path: Path) -> bytes:
    """Raises InvalidRequest for a file that can't be read, or is too large to be sent."""
    from isochrone.errors import InvalidRequest

    try:
        if (size := path.stat().st_size) > _MAX_IMAGE_BYTES:
            raise InvalidRequest(f"{path}: {size:,} bytes; at most {_MAX_IMAGE_BYTES:,} can be sent")
        return path.read_bytes()
    except OSError as error:
        raise InvalidRequest(f"{path}: {error.strerror or error}") from None
