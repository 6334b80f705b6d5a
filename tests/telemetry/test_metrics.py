"""What a collector and Prometheus get to see of a mesh of processes: the same numbers, and each process by itself."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.metrics.v1 import metrics_pb2
from prometheus_client.parser import text_string_to_metric_families

from conftest import StartMesh
from harness import Load, Mesh, send
from harness.otlp import Receiver
from isochrone import telemetry
from isochrone.client import Client
from isochrone.ports import a_free_one, nth
from isochrone.telemetry import Instrument
from isochrone.testing.models import REPEAT, SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone.v1.llm_pb2 import GenerateChunk, GenerateRequest

pytestmark = pytest.mark.processes

GENERATE = "isochrone.v1.Llm/Generate"
OFTEN = {"OTEL_METRIC_EXPORT_INTERVAL": "200"}
PROMETHEUS_NAMES = {one.name: one.prometheus_name for one in vars(telemetry).values() if isinstance(one, Instrument)}
Counts = Counter[str]
"""By Prometheus's name, over all labels: of a histogram, how much was observed."""


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    taking = Receiver()
    await taking.start()
    yield taking
    await taking.close()


def telling(receiver: Receiver) -> dict[str, Any]:
    return {"telemetry": {"otlp": receiver.endpoint, "sample": 0, "misses_per_s": 0}}


def latest(receiver: Receiver, process: str) -> dict[str, metrics_pb2.Metric]:
    """What a process said last, by name; nothing before it has."""
    for message in reversed(receiver.metrics):
        (owned,) = message.resource_metrics
        resource = {pair.key: pair.value.string_value for pair in owned.resource.attributes}
        if resource["service.instance.id"] == process:
            return {metric.name: metric for metric in owned.scope_metrics[0].metrics}
    return {}


def counts(said: dict[str, metrics_pb2.Metric]) -> Counts:
    """Of what only grows."""
    counted: Counts = Counter()
    for name, metric in said.items():
        counted[PROMETHEUS_NAMES[name]] += sum(point.as_int for point in metric.sum.data_points)
        counted[PROMETHEUS_NAMES[name]] += sum(point.count for point in metric.histogram.data_points)
    return counted


async def read(admin: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(f"http://{admin}/metrics") as got:
        assert got.content_type == "text/plain"
        return await got.text()


async def scrape(admin: str) -> Counts:
    """The same, from the /metrics of an admin port."""
    counted: Counts = Counter()
    for family in text_string_to_metric_families(await read(admin)):
        for sample in family.samples:
            if sample.name.endswith(("_total", "_count")):
                counted[sample.name.removesuffix("_count")] += int(sample.value)
    return counted


def repeat(units: int) -> bytes:
    return toy_pb2.ToyMessage(body=b"again", units=units).SerializeToString()


async def test_a_collector_gets_what_prometheus_reads(mesh: StartMesh, receiver: Receiver) -> None:
    """Of the router, number by number once nothing moves any more; nodes tell of themselves under their own names."""
    running = await mesh(instead=telling(receiver), env=OFTEN)
    client = running.client()
    for _ in range(20):
        assert (await send(client)).outcome == "answered"
    assert len([chunk async for chunk in client.stream(REPEAT, repeat(5))]) == 5
    await running.at_rest()
    scraped = await scrape(running.router.admin)
    assert scraped["isochrone_requests_total"] == scraped["isochrone_request_duration_seconds"] == 21
    assert scraped["isochrone_chunk_interval_seconds"] == 4

    def is_told() -> Counts | None:
        told = counts(latest(receiver, "router"))
        return told if told["isochrone_requests_total"] == 21 else None

    told = await receiver.until(is_told)
    ours = {name: count for name, count in scraped.items() if not name.startswith("isochrone_node_")}
    assert {name: told[name] for name in ours} == ours

    def on_nodes() -> Counts:
        return sum((counts(latest(receiver, node.name)) for node in running.nodes), Counter())

    await receiver.until(lambda: on_nodes()["isochrone_node_jobs_total"] >= 21)  # more, where one was sent again
    async with asyncio.timeout(15):
        while (of_nodes := await scrape(running.router.admin))["isochrone_node_jobs_total"] < 21:
            await asyncio.sleep(0.05)
    told = on_nodes()
    for name in ("isochrone_node_jobs_total", "isochrone_node_units_total"):
        assert of_nodes[name] == told[name]


async def test_an_engine_is_seen_while_it_works(mesh: StartMesh, receiver: Receiver) -> None:
    """By its own node, and by the router that it tells."""
    running = await mesh(nodes=1, instead=telling(receiver), env=OFTEN, options={"slots": 4})

    def active() -> set[int]:
        points = latest(receiver, "toy-0")["isochrone.engine.active"].gauge.data_points
        return {point.as_int for point in points}

    async with Client(running.router.address) as client, client.stream(REPEAT, repeat(100_000)) as stream:
        await anext(stream)
        await receiver.until(lambda: latest(receiver, "toy-0") and active() == {1})
        ratio = latest(receiver, "toy-0")["isochrone.engine.kv_used"].gauge.data_points[0]
        assert ratio.as_double == 0.25
        assert {pair.key: pair.value.string_value for pair in ratio.attributes} == {
            "node": "toy-0",
            "lane": "repeat@cpu",
        }
    await receiver.until(lambda: active() == {0})


async def test_each_process_of_a_router_counts_by_itself(mesh: StartMesh, receiver: Receiver) -> None:
    """Together they have counted every request once, on two admin ports as for a collector."""
    router = {"processes": 2, "listen": a_free_one(), "admin": a_free_one()}
    running = await mesh(nodes=1, router=router, instead=telling(receiver), env=OFTEN)
    for _ in range(8):
        assert (await send(running.client())).outcome == "answered"

    def requests(process: str) -> int:
        return counts(latest(receiver, process))["isochrone_requests_total"]

    await receiver.until(lambda: requests("router-0") + requests("router-1") == 8)
    for index in range(2):
        scraped = await scrape(nth(str(router["admin"]), index))
        assert scraped["isochrone_requests_total"] == requests(f"router-{index}")


async def test_a_collector_that_does_not_answer_costs_nothing(mesh: StartMesh, receiver: Receiver) -> None:
    """Requests are answered, and what it missed is in what it gets when it answers again."""
    running = await mesh(nodes=1, instead=telling(receiver), env=OFTEN)
    receiver.silent = True
    async with Load(running.client(), callers=2) as load:
        await load.answers(50)
        while not receiver.messages:  # somebody waits for it
            await load.answers(1)
    assert not load.failures
    receiver.silent = False
    many = len(load.sent)
    await receiver.until(lambda: counts(latest(receiver, "router"))["isochrone_requests_total"] == many)
    (point,) = [
        point
        for point in latest(receiver, "router")["isochrone.requests"].sum.data_points
        if {pair.value.string_value for pair in point.attributes} == {SLEEP, "standard", "OK"}
    ]
    assert point.start_time_unix_nano < point.time_unix_nano <= time.time_ns()


async def test_a_process_that_leaves_tells_its_last_numbers(mesh: StartMesh, receiver: Receiver) -> None:
    """However seldom it tells them otherwise."""
    running = await mesh(nodes=1, instead=telling(receiver), env={"OTEL_METRIC_EXPORT_INTERVAL": "3600000"})
    client = running.client()
    for _ in range(3):
        await send(client)
    assert not receiver.metrics
    await client.close()
    await running.router.stop(5)
    await receiver.until(lambda: counts(latest(receiver, "router"))["isochrone_requests_total"] == 3)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_text_is_counted_by_its_tokens(shop: Mesh) -> None:
    """Its first chunk and the time between chunks on its route; jobs, tokens and the engine's room on its node."""
    request = GenerateRequest(prompt="name: lamp", max_tokens=24).SerializeToString()
    async with Client(shop.router.address) as client:
        chunks = [chunk async for chunk in client.stream(GENERATE, request, timeout_s=20)]
    scraped = await scrape(shop.router.admin)
    assert scraped["isochrone_first_chunk_seconds"] == 1
    assert scraped["isochrone_chunk_interval_seconds"] == len(chunks) - 1 > 0
    assert (
        scraped["isochrone_units_total"] > GenerateChunk.FromString(chunks[-1]).completion_tokens
    )  # the prompt has some
    where = '{node="llm-0",lane="blurb.fp32@cpu"}'
    async with asyncio.timeout(15):
        while f"isochrone_node_jobs_total{where} 1" not in (text := await read(shop.router.admin)):
            await asyncio.sleep(0.05)
    assert f"isochrone_engine_kv_used_ratio{where} 0.0" in text
