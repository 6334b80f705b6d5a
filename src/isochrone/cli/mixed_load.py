"""A few seconds of a shop's traffic: pages that ask for rankings, and now and then a photo or a text."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import cycle

from isochrone.cli.load import Send, Tally, capacity_per_s, offer
from isochrone.cli.product_page import CLASSIFY, GENERATE, RANK
from isochrone.cli.shop import Shop, photos, prompts
from isochrone.client import Budget, Client
from isochrone.config import MeshConfig

CANDIDATES = 100
BURST = 3
"""Rankings that a page asks for at a time."""
PHOTOS_PER_S = 4.0
TEXTS_PER_S = 1.0
_TRIED_S, _AT_ONCE = 0.6, 8
_MOST_PER_S = 400.0
_ROOM = 0.2
"""The part of the machine's capacity that rankings take: everything runs on the same cores."""


class MixedLoad:
    """Open-loop load of every kind that the mesh serves."""

    def __init__(
        self, client: Client, config: MeshConfig, shop: Shop, *, seconds: float, rate_per_s: float | None
    ) -> None:
        """`rate_per_s` is that of rankings; None: what leaves the machine most of its room. Raises ConfigError."""
        self._seconds = seconds
        self._rate_per_s = rate_per_s
        self._client = client
        self._requests = shop.requests(CANDIDATES)
        self._photos = cycle(photos(config))
        self._prompts = cycle(prompts(config))
        self.rankings = Tally()
        self.others = {
            name: (Tally(), route)
            for name, route in (("photos", CLASSIFY), ("texts", GENERATE))
            if route in config.routes
        }
        """Tally and route of what else there is, by name."""

    @property
    def told(self) -> str:
        """What it consists of, in words."""
        return ", ".join([f"pages that ask for {BURST} rankings at a time", *self.others])

    @property
    def tallies(self) -> Sequence[Tally]:
        return [self.rankings, *(tally for tally, _ in self.others.values())]

    async def run(self) -> None:
        """Sends all of it, and waits for the last answers."""
        rate_per_s = self._rate_per_s
        if rate_per_s is None:
            room_per_s = await capacity_per_s(self._rank, at_once=_AT_ONCE, seconds=_TRIED_S)
            rate_per_s = max(1.0, min(_ROOM * room_per_s, _MOST_PER_S))
        async with asyncio.TaskGroup() as kinds:
            kinds.create_task(self._offer(self._rank, rate_per_s, self.rankings, burst=BURST))
            for send, each_s, name in ((self._look, PHOTOS_PER_S, "photos"), (self._write, TEXTS_PER_S, "texts")):
                if name in self.others:
                    kinds.create_task(self._offer(send, each_s, self.others[name][0]))

    async def _offer(self, send: Send, rate_per_s: float, tally: Tally, *, burst: int = 1) -> None:
        await offer(send, rate_per_s=rate_per_s, burst=burst, seconds=self._seconds, tally=tally)

    async def _rank(self) -> Budget | None:
        return (await self._client.call(RANK, next(self._requests))).budget

    async def _look(self) -> Budget | None:
        return (await self._client.classify(next(self._photos), top_k=3)).budget

    async def _write(self) -> Budget | None:
        async with self._client.generate(next(self._prompts)) as text:
            async for _ in text:
                pass
        return text.budget
