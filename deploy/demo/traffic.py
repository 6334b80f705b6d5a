"""Traffic of a shop for a mesh that runs elsewhere: rankings, photos, texts and whole pages, until it is stopped.

python deploy/demo/traffic.py --config deploy/compose/mesh.yaml --models .isochrone/models --target 127.0.0.1:50051
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from itertools import count
from pathlib import Path

from isochrone.cli.load import Tally, offer
from isochrone.cli.mixed_load import CANDIDATES, MixedLoad
from isochrone.cli.product_page import RANK, page_legs, turn
from isochrone.cli.shop import Shop, photos
from isochrone.client import Budget, Client
from isochrone.config import MeshConfig, load_config

PAGES_PER_S = 0.5
ROUND_S = 10.0


class Traffic:
    """Rounds of it, each with a line about what came of it."""

    def __init__(self, client: Client, config: MeshConfig, *, rate_per_s: float) -> None:
        """`rate_per_s` is that of rankings. Raises ConfigError where the models aren't built."""
        self._client = client
        self._config = config
        self._rate_per_s = rate_per_s
        self._shop = Shop.of(config)
        ranking = self._shop.a_request(CANDIDATES)
        self._legs = page_legs(config.routes, ranking=ranking, image=next(iter(photos(config)), None))

    async def run(self) -> None:
        """Until cancelled."""
        for number in count(1):
            load = MixedLoad(self._client, self._config, self._shop, seconds=ROUND_S, rate_per_s=self._rate_per_s)
            pages = Tally()
            async with asyncio.TaskGroup() as both:
                both.create_task(load.run())
                both.create_task(offer(self._page, rate_per_s=PAGES_PER_S, burst=1, seconds=ROUND_S, tally=pages))
            print(f"{number}: {self._told(load, pages)}", flush=True)

    async def _page(self) -> Budget | None:
        page = await turn(self._client, self._legs, timeout_s=10.0)
        return page.ended["ranking"].budget if "ranking" in page.ended else None

    def _told(self, load: MixedLoad, pages: Tally) -> str:
        rankings, objective_ms = load.rankings, self._config.routes[RANK].objective_ms
        failed = sum((tally.errors for tally in (*load.tallies, pages)), start=pages.errors.__class__())
        words = [
            f"{rankings.answered} rankings, {rankings.within(objective_ms):.1%} within {objective_ms:g} ms",
            *(f"{tally.answered} {name}" for name, (tally, _) in load.others.items()),
            f"{pages.answered} pages",
        ]
        return ", ".join(words) + (f"; failed: {dict(failed)}" if failed else "")


async def main(arguments: argparse.Namespace) -> None:
    config = load_config(arguments.config)
    if arguments.models is not None:
        config = config.model_copy(update={"models": arguments.models})
    async with Client(arguments.target) as client:
        running = asyncio.ensure_future(Traffic(client, config, rate_per_s=arguments.rate).run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, running.cancel)
        await asyncio.wait({running})
        if not running.cancelled():
            running.result()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Sends a mesh the traffic of a shop, until it is stopped.")
    parser.add_argument("--config", type=Path, required=True, help="the mesh's YAML file")
    parser.add_argument("--models", type=Path, help="where the models are, in place of the file's")
    parser.add_argument("--target", action="append", required=True, help="a router; give several for several")
    parser.add_argument("--rate", type=float, default=30.0, help="rankings a second (%(default)g)")
    asyncio.run(main(parser.parse_args()))
