"""Asks processes of a router what they have to say, over their own admin ports on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from isochrone.config import RouterConfig
from isochrone.ports import dialable, nth

PATIENCE_S = 0.4
Answer = dict[str, Any]


class Sibling(NamedTuple):
    """A process of this router, by its admin address."""

    name: str
    admin: str


def siblings_of(router: RouterConfig, folder: Path | None = None) -> list[Sibling]:
    """All processes of a router, in their order: at their admin ports, or at sockets in a folder of their own."""
    first = router.admin if folder is None else f"unix:{folder}/admin"
    return [Sibling(router.process_name(index), nth(first, index)) for index in range(router.processes)]


class Missing(NamedTuple):
    """One that has not answered."""

    name: str
    why: str


async def ask_all(siblings: Sequence[Sibling], path: str, query: Mapping[str, str]) -> list[Answer | Missing]:
    """What each says, or why it says nothing; all asked at once, none waited for longer than PATIENCE_S. One that
    knows of no such thing (404) says nothing in particular: {}."""
    if not siblings:
        return []
    return list(await asyncio.gather(*(_ask(sibling, path, query) for sibling in siblings)))


async def _ask(sibling: Sibling, path: str, query: Mapping[str, str]) -> Answer | Missing:
    unix = sibling.admin.startswith("unix:")
    connector = aiohttp.UnixConnector(sibling.admin.removeprefix("unix:")) if unix else aiohttp.TCPConnector()
    host = "localhost" if unix else dialable(sibling.admin)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
            http.get(f"http://{host}{path}", params=query) as answer,
        ):
            if answer.status == 404:
                return {}
            if answer.status != 200:
                return Missing(sibling.name, f"it answers {answer.status}")
            said = await answer.json()
            return said if isinstance(said, dict) else Missing(sibling.name, "it says something else")
    except TimeoutError:
        return Missing(sibling.name, f"no answer within {PATIENCE_S:g} s")
    except (aiohttp.ClientError, OSError, ValueError):
        return Missing(sibling.name, "it can't be reached")
