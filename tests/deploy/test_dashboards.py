"""Every query of every panel returns data from a Prometheus that scraped a running mesh under load."""

from __future__ import annotations

import asyncio
import json
import math
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import grpc
import pytest
import yaml

from harness import RedisServer, start_mesh
from isochrone.child import Child
from isochrone.cli.mixed_load import MixedLoad
from isochrone.cli.product_page import CLASSIFY, EMBED, GENERATE, RANK
from isochrone.cli.shop import Shop, photos, prompts
from isochrone.client import Client
from isochrone.config import MeshConfig
from isochrone.errors import IsochroneError
from isochrone.ports import a_free_one

DEPLOY = Path(__file__).parents[2] / "deploy"
SECONDS = 12.0
SCRAPED_EACH_S = 1
# What Grafana puts in for its variables.
VARIABLES = {"$__rate_interval": "8s", "$__range": "15s", "$route": ".*"}

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="no prometheus here: apt-get install prometheus"),
]


class Query(NamedTuple):
    """As Prometheus gets to see it."""

    where: str
    asks: str
    labels: frozenset[str]
    """That its legend names."""


def queries() -> Iterator[Query]:
    """Every panel's."""
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                query = target["expr"]
                for name, value in VARIABLES.items():
                    query = query.replace(name, value)
                labels = frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                yield Query(f"{path.stem}, {panel['title']}, {target['refId']}", query, labels)


def settings(models: Path) -> dict[str, Any]:
    """A mesh of all services, of whose promises most can be kept; that for embeddings never is."""
    generous = {"objective_ms": 1_000, "deadline_ms": 20_000}
    return {
        "models": str(models),
        # Few enough that some are refused, where many come at once.
        "router": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "limits": {"inflight": 48}},
        "callers": {"anonymous": {"tiers": ["gold", "standard", "batch"], "rate_per_s": 120, "concurrency": 1000}},
        "devices": {"cpu": {"cost_per_hour": 0.05, "watts": 65}},
        "routes": {
            RANK: generous | {"lanes": ["ranker.fp32@cpu"], "fallback": [{"static": {"message": {}}}]},
            CLASSIFY: generous | {"lanes": ["eye.fp32@cpu"]},
            EMBED: generous | {"objective_ms": 0.01, "lanes": ["eye.fp32@cpu"]},
            GENERATE: generous | {"lanes": ["blurb.fp32@cpu"]},
        },
        "nodes": {name: {"service": name} for name in ("recsys", "vision", "llm")},
    }


@pytest.fixture
def collector() -> Iterator[str]:
    """The URL of somebody who takes all that is exported, and thinks nothing of it."""

    export = {"Export": grpc.unary_unary_rpc_method_handler(lambda request, context: b"")}
    services = [f"opentelemetry.proto.collector.{kind}.v1.{kind.title()}Service" for kind in ("trace", "metrics")]
    handlers = [grpc.method_handlers_generic_handler(service, export) for service in services]
    server = grpc.server(ThreadPoolExecutor(2), handlers=handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(0).wait()


@pytest.fixture
async def prometheus(tmp_path: Path, logs: Path) -> AsyncIterator[Prometheus]:
    server = Prometheus(tmp_path, logs)
    yield server
    await server.child.stop(2)


class Prometheus:
    """Debian's, with the configuration of deploy/ but for whom it scrapes, and how often."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._config = folder / "prometheus.yml"
        address = a_free_one()
        self._url = f"http://{address}"
        self.child = Child(
            name="prometheus",
            kind="node",
            command=(
                *("prometheus", f"--config.file={self._config}", f"--storage.tsdb.path={folder / 'tsdb'}"),
                *(f"--web.listen-address={address}", "--log.level=warn"),
            ),
            log=logs,
            probe=self._is_ready,
        )

    async def scrape(self, target: str) -> None:
        """Starts, and looks there from now on."""
        config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"]["scrape_interval"] = f"{SCRAPED_EACH_S}s"
        config["scrape_configs"][0]["static_configs"] = [{"targets": [target]}]
        self._config.write_text(yaml.safe_dump(config))
        await self.child.start(timeout_s=20)

    async def has_data(self, query: Query) -> bool:
        """Whether it answers with a number now, under a name. Raises AssertionError where it can't."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self._url}/api/v1/query", params={"query": query.asks}) as got,
        ):
            answer = await got.json()
        assert answer["status"] == "success", answer
        return any(
            query.labels <= series["metric"].keys() and not math.isnan(float(series["value"][1]))
            for series in answer["data"]["result"]
        )

    async def _is_ready(self) -> bool:
        with suppress(aiohttp.ClientConnectionError):
            async with aiohttp.ClientSession() as http, http.get(f"{self._url}/-/ready") as got:
                return got.status == 200
        return False


async def load(client: Client, config: MeshConfig) -> None:
    """All that a shop asks for; and besides, what can't be in time, and more at once than is let in."""
    shop = Shop.of(config)
    mixed = MixedLoad(client, config, shop, seconds=SECONDS, rate_per_s=30)
    ranking, photo, prompt = next(shop.requests(20)), photos(config)[0], prompts(config)[0]

    async def again(each_s: float, count: int, call: Any) -> None:
        while True:
            await asyncio.gather(*(call() for _ in range(count)), return_exceptions=True)
            await asyncio.sleep(each_s)

    async def written() -> None:
        with suppress(IsochroneError):
            async with client.generate(prompt) as text:
                async for _ in text:
                    pass

    besides = [
        asyncio.ensure_future(again(0.2, 1, lambda: client.embed(photo))),
        asyncio.ensure_future(again(1.0, 150, lambda: client.call(RANK, ranking))),
        asyncio.ensure_future(again(0.1, 2, written)),
    ]
    try:
        await mixed.run()
    finally:
        for task in besides:
            task.cancel()
        await asyncio.wait(besides)


@pytest.mark.timeout(240)
async def test_every_panel_has_data(
    tiny_models: Path, tmp_path: Path, redis: RedisServer, prometheus: Prometheus, collector: str
) -> None:
    """Numbers, that is: an empty answer, or nothing but "not a number", is an empty panel."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector}
    mesh = await start_mesh(tmp_path, redis=redis, env=env, instead=settings(tiny_models))
    try:
        await prometheus.scrape(mesh.router.admin)
        loading = asyncio.ensure_future(load(mesh.client(), mesh.stack.config))
        await asyncio.sleep(SECONDS - 1)
        empty = [f"{query.where}: {query.asks}" for query in queries() if not await prometheus.has_data(query)]
        await loading
    finally:
        await mesh.close()
    assert not empty, "\n".join(["no data for", *empty])
