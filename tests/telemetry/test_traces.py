"""What a collector gets to see: one tree a request, misses whatever was sampled, and no harm done where it is away."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psutil
import pytest

from conftest import StartMesh, shop_settings
from harness import ONE_BY_ONE, Load, Mesh, RedisServer, goes_through_redis, send, start_mesh
from harness.otlp import Receiver, Span, Tree
from isochrone.cli.product_page import page_legs
from isochrone.client import Client, LegResult, Outcome
from isochrone.client.page import FAN_OUT_STREAM
from isochrone.errors import DeadlineExceeded
from isochrone.otlp import QUEUE_SPANS
from isochrone.testing.models import ECHO, SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone_recsys.samples import Samples as Visits
from isochrone_vision.samples import Samples as Photos

pytestmark = pytest.mark.processes

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0"
STAGES = ["plan", "queue", "batch wait", "compute", "reply", "answer"]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    taking = Receiver()
    await taking.start()
    yield taking
    await taking.close()


def telling(receiver: Receiver, *, sample: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"telemetry": {"otlp": receiver.endpoint, "sample": sample, **more}}


async def call(running: Mesh, route: str, **metadata: str) -> None:
    """A request with metadata of its own."""
    async with grpc.aio.insecure_channel(running.router.address) as channel:
        method = channel.unary_unary(f"/{route}", request_serializer=None, response_deserializer=None)
        await method(toy_pb2.ToyMessage(body=b"x").SerializeToString(), metadata=tuple(metadata.items()))


def is_whole(tree: Tree) -> bool:
    """Whether its last stage has come in too."""
    return any(span.name == "answer" for span in tree.spans)


def told_by(span: Span) -> tuple[str, str]:
    return span.service, str(span.resource.get("service.instance.id"))


async def test_a_product_page_is_one_tree(tiny_models: Path, tmp_path: Path, receiver: Receiver) -> None:
    """A page of four legs: they stand below the whole and their stages below them, times lie inside those of their
    parents, and what nodes did stands under their own names."""
    settings = shop_settings(tiny_models)
    visit = Visits.load(tiny_models / "ranker.fp32").request_of(3, rows=20, top_k=5)
    legs = page_legs(settings["routes"], ranking=visit, image=Photos.load(tiny_models / "eye.fp32").photos[0])
    running = await start_mesh(tmp_path, instead=settings | telling(receiver))
    try:
        async with Client(running.router.address) as client:
            parts = [part async for part in client.fan_out_stream(legs, timeout_s=20)]
        ended = [(part.outcome, part.error) for part in parts if isinstance(part, LegResult)]
        assert ended == [(Outcome.OK, None)] * 4
        page = await receiver.until(lambda: page_of(receiver, legs=4))
        batched = {leg.id for leg in page.below(page.root) if leg.name != "leg text"}
        await receiver.until(lambda: batched <= set().union(*(batch.links for batch in batches_of(receiver, page))))
    finally:
        await running.close()
    whole = page.root
    assert (whole.name, whole.service) == (FAN_OUT_STREAM, "isochrone-router")
    assert {leg.name for leg in page.below(whole)} == {f"leg {name}" for name in legs}
    for leg in page.below(whole):
        stages = page.below(leg)
        assert [stage.name for stage in stages] == STAGES
        service = {"rank": "recsys", "text": "llm"}.get(leg.name[4:8], "vision")
        node = (f"isochrone-{service}", f"{service}-0")
        assert [told_by(stage) for stage in stages[2:4]] == [node, node]
        assert {told_by(stage)[0] for stage in (*stages[:2], *stages[4:])} == {"isochrone-router"}
        assert {stage.resource["host.name"] for stage in stages} == {whole.resource["host.name"]}
        assert leg.attributes["isochrone.node"] == f"{service}-0"
        assert sum(stage.ms for stage in stages) == pytest.approx(leg.ms, abs=0.01)
        assert stages[3].attributes["messaging.batch.message_count"] >= 1
    for span in page.spans:
        for below in page.below(span):
            assert below.lies_in(span), f"{below.name} in {span.name}"
    text = page.named("leg text")
    assert text.attributes["gen_ai.request.model"] == "blurb.fp32"
    assert text.attributes["gen_ai.usage.output_tokens"] > 1
    (compute,) = [span for span in page.below(text) if span.name == "compute"]
    assert [span.name for span in page.below(compute)] == ["first token", "decode"]
    # The text's begins where the labels' ends: it takes from them.
    assert text.proto.start_time_unix_nano >= page.named("leg labels").proto.end_time_unix_nano
    for leg in page.below(whole):  # their batches and they know each other
        if leg.id not in batched:
            continue
        (compute,) = [span for span in page.below(leg) if span.name == "compute"]
        (batch,) = [batch for batch in batches_of(receiver, page) if leg.id in batch.links]
        assert compute.links == {batch.id}
        assert told_by(batch) == told_by(compute)
        assert batch.attributes["messaging.batch.message_count"] == compute.attributes["messaging.batch.message_count"]
        assert batch.attributes["isochrone.batch.closed_by"] == compute.attributes["isochrone.batch.closed_by"]


def page_of(receiver: Receiver, *, legs: int) -> Tree | None:
    """A fan-out's tree, once all its legs are in it with all their stages."""
    for tree in receiver.trees().values():
        names = [span.name for span in tree.spans]
        if FAN_OUT_STREAM in names and names.count("answer") == legs:
            return tree
    return None


def batches_of(receiver: Receiver, tree: Tree) -> list[Span]:
    """The batches that its requests were in."""
    ids = {span.id for span in tree.spans}
    return [span for span in receiver.spans if span.name.startswith("batch ") and span.links & ids]


async def test_a_batch_links_to_every_member(mesh: StartMesh, receiver: Receiver) -> None:
    """More than the 128 that the SDK would keep."""
    running = await mesh(nodes=1, options={"sleep_ms": 50, "batch_jobs": 256}, instead=telling(receiver))
    async with Load(running.client(), callers=400) as load:
        await load.answers(1200)
    await receiver.until(lambda: any(len(span.links) > 128 for span in receiver.spans))
    largest = max((span for span in receiver.spans if span.name.startswith("batch ")), key=lambda span: len(span.links))
    assert len(largest.links) == largest.attributes["messaging.batch.message_count"]
    await receiver.until(lambda: largest.links <= {span.id for span in receiver.spans})


@pytest.mark.parametrize(("sample", "flag", "kept"), [(0.0, "1", True), (1.0, "0", False), (1.0, "", True)])
async def test_the_callers_flag_decides(
    mesh: StartMesh, receiver: Receiver, sample: float, flag: str, kept: bool
) -> None:
    """Where it has one; its trace goes on. What it doesn't want traced, and is in order, isn't."""
    running = await mesh(nodes=1, instead=telling(receiver, sample=sample))
    await call(running, ECHO, **({"traceparent": CALLER + flag, "tracestate": "shop=1"} if flag else {}))
    await call(running, ECHO, traceparent=CALLER.replace("4bf9", "aaaa") + "1")  # comes after it, if it comes
    await receiver.until(lambda: any(tree.root.trace.startswith("aaaa") for tree in receiver.trees().values()))
    others = {trace: tree for trace, tree in receiver.trees().items() if not trace.startswith("aaaa")}
    others = {trace: tree for trace, tree in others.items() if not tree.spans[0].name.startswith("batch ")}
    assert len(others) == kept
    if flag and kept:
        root = others[CALLER[3:35]].root
        assert (root.parent.hex(), root.proto.trace_state) == (CALLER[36:52], "shop=1")


async def test_misses_are_traced_whatever_was_sampled(mesh: StartMesh, receiver: Receiver) -> None:
    """Marked as such, with who is to blame; the nodes aren't told, so there is no batch to it."""
    slow = {"options": {"sleep_ms": 200} | ONE_BY_ONE, "route": {"objective_ms": 30}}
    running = await mesh(nodes=1, **slow, instead=telling(receiver, sample=0))
    await call(running, ECHO)
    await call(running, SLEEP, traceparent=CALLER + "0")
    tree = await receiver.until(lambda: next(filter(is_whole, receiver.trees().values()), None))
    assert list(receiver.trees()) == [CALLER[3:35]]
    told = tree.root.attributes
    assert (told["isochrone.forced"], told["isochrone.verdict"], told["isochrone.blame"]) == (True, "missed", "compute")
    assert told["isochrone.objective_ms"] == 30
    assert tree.named("compute").service == "isochrone-testing-toy" or tree.named("compute").service.endswith("toy")


async def test_of_a_storm_of_misses_the_worst_are_traced(mesh: StartMesh, receiver: Receiver) -> None:
    """So many a second; the others are counted."""
    running = await mesh(
        nodes=1,
        options={"sleep_ms": 30},
        route={"objective_ms": 1},
        instead=telling(receiver, sample=0, misses_per_s=3),
    )
    async with Load(running.client(), callers=8) as load:
        await load.answers(100)
        took_s = max(sent.ended_s for sent in load.sent) - min(sent.began_s for sent in load.sent)
    await receiver.until(lambda: len([tree for tree in receiver.trees().values() if is_whole(tree)]) >= 3)
    assert len(receiver.trees()) <= 3 * (took_s + 2)


async def test_a_second_attempt_shows_both(mesh: StartMesh, receiver: Receiver, redis: RedisServer) -> None:
    """A node dies with a request: the trace has the attempt that was given up, why, and the one that answered."""
    running = await mesh(
        redis=redis, nodes=2, options={"sleep_ms": 150} | ONE_BY_ONE, instead=telling(receiver, sample=0)
    )
    await running.until(goes_through_redis)
    async with Load(running.client(), callers=2) as load:
        await running.until(lambda status: all(node["backlog"] or node["inflight"] for node in status["nodes"]))
        running.stack.kill(running.nodes[0].name, signal.SIGKILL)
        await load.answers(4)
    assert load.failures == []
    tree = await receiver.until(lambda: next(filter(was_sent_twice, receiver.trees().values()), None))
    first, second = tried(tree)
    assert first.attributes["isochrone.given_up"] in ("its node is gone", "its node is late")
    assert first.attributes["isochrone.node"] == running.nodes[0].name
    assert (second.attributes["isochrone.attempt"], second.attributes["isochrone.node"]) == (2, running.nodes[1].name)
    assert "compute" in [span.name for span in tree.below(second)]


def tried(tree: Tree) -> list[Span]:
    return [span for span in tree.below(tree.root) if span.name == "attempt"]


def was_sent_twice(tree: Tree) -> bool:
    return is_whole(tree) and tree.root.attributes.get("isochrone.attempts", 0) > 1


async def test_a_refusal_is_told_too(mesh: StartMesh, receiver: Receiver) -> None:
    """With its reason: a request that failed is traced."""
    running = await mesh(nodes=1, instead=telling(receiver, sample=0))
    sent = await send(running.client(), timeout_s=0.000001)
    assert isinstance(sent.error, DeadlineExceeded)
    with pytest.raises(grpc.aio.AioRpcError):
        await call(running, ECHO, **{"isochrone-tier": "platinum"})
    tree = await receiver.until(lambda: next(iter(receiver.trees().values()), None))
    told = tree.root.attributes
    assert (told["rpc.response.status_code"], told["error.type"]) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert told["isochrone.verdict"] == "failed"


@pytest.mark.parametrize("how", ["away", "silent", "gone"])
async def test_a_collector_that_takes_nothing_costs_no_request(mesh: StartMesh, receiver: Receiver, how: str) -> None:
    """Not there yet, dead, or silent in the middle: all are answered, and what waits for it is bounded."""
    endpoint = receiver.endpoint
    if how == "away":
        await receiver.close()
    running = await mesh(nodes=1, options={"sleep_ms": 0}, instead=telling(receiver))
    process = psutil.Process(running.router.pid)
    async with Load(running.client(), callers=64) as load:
        await load.answers(500)
        if how == "silent":
            receiver.silent = True
        elif how == "gone":
            await receiver.close()
        await load.answers(2 * QUEUE_SPANS // len(STAGES))  # more than the queue takes
        before = process.memory_info().rss
        await load.answers(2000)
        grown = process.memory_info().rss - before
    assert load.failures == []
    assert grown < 8 * 2**20
    if how == "away":
        await receiver.start()
        assert receiver.endpoint == endpoint
        await receiver.until(lambda: len(receiver.spans) > 1000, within_s=40)
