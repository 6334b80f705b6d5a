"""Photos that are none and prompts that can't be gone on from, sent to real nodes among requests that are right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
from google.protobuf.message import Message
from PIL import Image

from harness import Mesh
from harness.photos import jpeg_of_size, png_of_size, saved
from isochrone.client import Client, Labels
from isochrone.errors import InvalidRequest
from isochrone.v1.llm_pb2 import CompleteResponse, GenerateRequest
from isochrone.v1.vision_pb2 import ClassifyRequest, EmbedRequest
from isochrone_vision.samples import Samples

pytestmark = [pytest.mark.processes, pytest.mark.asyncio(loop_scope="module")]

CLASSIFY, EMBED = "isochrone.v1.Vision/Classify", "isochrone.v1.Vision/Embed"
COMPLETE, GENERATE = "isochrone.v1.Llm/Complete", "isochrone.v1.Llm/Generate"
MATES = 6


def node_of(shop: Mesh, name: str) -> psutil.Process:
    [child] = [node for node in shop.nodes if node.name == name]
    return psutil.Process(child.pid)


async def refusal(asked: Awaitable[object]) -> tuple[str, str]:
    """The one field that is wrong, and what is wrong with it."""
    with pytest.raises(InvalidRequest) as caught:
        await asked
    [violation] = caught.value.violations
    return violation.field, violation.description


async def drained(client: Client, payload: bytes) -> None:
    async for _ in client.stream(GENERATE, payload):
        pass


def bad_photos(photo: bytes) -> dict[bytes, str]:
    frames = [Image.new("RGB", (80, 80), shade) for shade in ("red", "green", "blue")]
    return {
        b"": "empty",
        bytes(1_000): "not an image",
        b"GIF89a" + bytes(100): "format GIF",
        photo[: len(photo) // 2]: "damaged or cut short",
        photo[:3]: "damaged or cut short",
        saved(frames[0], "PNG", save_all=True, append_images=frames[1:]): "an animated PNG",
        saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]): "an animated WebP",
        png_of_size(16_000, 12_500): "16,000 by 12,500 pixels",
        jpeg_of_size(16_000, 12_500): "16,000 by 12,500 pixels",
    }


async def test_photos_that_are_none(shop: Mesh, tiny_eye: Path) -> None:
    """Each names its field, with both methods; those in the same batches are seen as they are alone, and a file of a
    hundred bytes that claims 200 million pixels costs no more memory than any other."""
    client = shop.client()
    photos = Samples.load(tiny_eye).photos[:MATES]
    alone = [await client.classify(photo) for photo in photos]
    eye = node_of(shop, "vision-0")
    before_bytes = eye.memory_info().rss

    def same(mates: list[Labels]) -> bool:
        return all(
            mate.labels == seen.labels and mate.probabilities == pytest.approx(seen.probabilities, abs=1e-4)
            for mate, seen in zip(mates, alone, strict=True)
        )

    for content, told in bad_photos(photos[0]).items():
        asked = [(CLASSIFY, ClassifyRequest(image=content)), (EMBED, EmbedRequest(image=content))] * 3
        bad = [refusal(client.call(route, request.SerializeToString())) for route, request in asked]
        mates = asyncio.gather(*(client.classify(photo) for photo in photos))
        for field, description in await asyncio.gather(*bad):
            assert field == "image"
            assert told in description
        assert same(await mates), told
    assert eye.memory_info().rss - before_bytes < 50 * 2**20
    assert eye.is_running()
    await shop.at_rest()


async def test_prompts_that_cannot_be_gone_on_from(shop: Mesh) -> None:
    """Each names its field, whole and in chunks; texts that are made meanwhile are those made alone."""
    client = shop.client()
    right = [GenerateRequest(prompt=f"name: {name}", max_tokens=30) for name in ("lamp", "mug", "tent", "boots")]

    async def written(request: Message) -> str:
        return CompleteResponse.FromString((await client.call(COMPLETE, request.SerializeToString())).payload).text

    alone = [await written(request) for request in right]
    writer = node_of(shop, "llm-0")
    before_bytes = writer.memory_info().rss
    wrong = {
        GenerateRequest().SerializeToString(): "prompt",
        GenerateRequest(prompt="word " * 200).SerializeToString(): "prompt",  # over the context, by its tokens
        GenerateRequest(prompt="x" * 1_000_000).SerializeToString(): "prompt",  # and by its length alone
        b"\x0a\x02\xff\xfe": "request",  # a prompt that is not UTF-8
        GenerateRequest(prompt="name: mug", temperature=-1).SerializeToString(): "temperature",
        GenerateRequest(prompt="name: mug", temperature=float("nan")).SerializeToString(): "temperature",
        GenerateRequest(prompt="name: mug", temperature=float("inf")).SerializeToString(): "temperature",
        GenerateRequest(prompt="name: mug", top_p=float("nan")).SerializeToString(): "top_p",
        GenerateRequest(prompt="name: mug", max_tokens=1_000_000).SerializeToString(): "max_tokens",
    }
    ask: tuple[Callable[[bytes], Awaitable[object]], ...] = (
        lambda payload: client.call(COMPLETE, payload),
        lambda payload: drained(client, payload),
    )
    mates = asyncio.gather(*(written(request) for request in right))
    for payload, field in wrong.items():
        for asked in ask:
            assert (await refusal(asked(payload)))[0] == field
    assert await mates == alone
    assert writer.memory_info().rss - before_bytes < 50 * 2**20
    assert writer.is_running()
    await shop.at_rest()


async def test_without_a_temperature_the_same_text_each_time(shop: Mesh) -> None:
    """Alone or beside others, whole or in chunks, whatever the seed; with one, the seed decides."""
    client = shop.client()
    first = await client.complete("name: lamp", max_tokens=20)
    again = await asyncio.gather(*(client.complete("name: lamp", max_tokens=20, seed=seed) for seed in range(6)))
    assert {one.text for one in again} == {first.text}
    assert "".join([chunk.text async for chunk in client.generate("name: lamp", max_tokens=20)]) == first.text
    hot = [await client.complete("name: lamp", max_tokens=20, temperature=3, seed=seed) for seed in (7, 7, 8)]
    assert hot[0].text == hot[1].text != hot[2].text
