"""Asks the other processes of a router for their parts, over their own admin ports on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import aiohttp

from isochrone.config import RouterConfig
from isochrone.ports import dialable, nth
from isochrone_router.console.part import FORMAT, Part

PATIENCE_S = 0.4
LARGEST_BYTES = 8 * 2**20


class Sibling(NamedTuple):
    """Another process of this router."""

    name: str
    admin: str

    @classmethod
    def all_of(cls, router: RouterConfig, *, but: int) -> list[Sibling]:
        return [
            cls(router.process_name(index), nth(router.admin, index))
            for index in range(router.processes)
            if index != but
        ]


class Missing(NamedTuple):
    """One that has not answered."""

    name: str
    why: str


async def ask_all(siblings: Sequence[Sibling], *, after: int) -> list[Part | Missing]:
    """Of each its part, or why there is none; all asked at once, none waited for longer than PATIENCE_S."""
    return list(await asyncio.gather(*(_ask(sibling, after) for sibling in siblings)))


async def _ask(sibling: Sibling, after: int) -> Part | Missing:
    unix = sibling.admin.startswith("unix:")
    connector = aiohttp.UnixConnector(sibling.admin.removeprefix("unix:")) if unix else aiohttp.TCPConnector()
    host = "localhost" if unix else dialable(sibling.admin)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
            http.get(f"http://{host}/console.json", params={"own": "1", "after": str(after)}) as answer,
        ):
            if answer.status != 200:
                return Missing(sibling.name, f"it answers {answer.status}")
            part = await answer.json()
    except TimeoutError:
        return Missing(sibling.name, f"no answer within {PATIENCE_S:g} s")
    except (aiohttp.ClientError, OSError, ValueError):
        return Missing(sibling.name, "it can't be reached")
    if not isinstance(part, dict) or part.get("format") != FORMAT:
        return Missing(sibling.name, "it is of another version")
    return part
