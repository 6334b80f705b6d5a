"""The typed calls: photos, texts, and fan-outs whose legs come as they end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from harness.by_hand import BUDGET
from isochrone.client import Finish, Leg, LegChunk, LegResult, Outcome, TextChunk
from isochrone.errors import Internal, InvalidRequest, Unavailable
from isochrone.v1 import llm_pb2, vision_pb2

REPEAT = "isochrone.testing.v1.Toy/Repeat"
ECHO = "isochrone.testing.v1.Toy/Echo"


async def test_a_photo_is_classified(served: Any) -> None:
    """Labels and probabilities as plain Python values, with variant and budget."""
    at, client = served
    calling = asyncio.create_task(client.classify(b"jpeg", top_k=2, variant="eye.fp32"))
    asked = await at.start.next()
    assert (asked.call.route, asked.call.variant) == ("isochrone.v1.Vision/Classify", "eye.fp32")
    assert vision_pb2.ClassifyRequest.FromString(asked.call.request) == vision_pb2.ClassifyRequest(
        image=b"jpeg", top_k=2
    )
    answer = vision_pb2.ClassifyResponse(labels=["watch", "shoe"], probabilities=[0.75, 0.25], variant="eye.fp32")
    asked.end(answer.SerializeToString())
    labels = await calling
    assert (labels.labels, labels.probabilities, labels.variant) == (("watch", "shoe"), (0.75, 0.25), "eye.fp32")
    assert labels.budget.report == BUDGET


async def test_a_photo_is_embedded(served: Any) -> None:
    """As a vector of floats."""
    at, client = served
    calling = asyncio.create_task(client.embed(b"png"))
    asked = await at.start.next()
    assert vision_pb2.EmbedRequest.FromString(asked.call.request).image == b"png"
    asked.end(vision_pb2.EmbedResponse(embedding=[0.5, 0.5], variant="eye.fp32").SerializeToString())
    embedding = await calling
    assert (embedding.vector, embedding.variant) == ((0.5, 0.5), "eye.fp32")
    assert embedding.budget.report == BUDGET


TEXT = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.75, "top_k": 40, "stop": [".", "\n"], "seed": 7}


async def test_a_text_is_completed(served: Any) -> None:
    """Whole, with its tokens and why it ends."""
    at, client = served
    calling = asyncio.create_task(client.complete("A blue", **TEXT, timeout_s=5))
    asked = await at.start.next()
    assert llm_pb2.GenerateRequest.FromString(asked.call.request) == llm_pb2.GenerateRequest(prompt="A blue", **TEXT)
    response = llm_pb2.CompleteResponse(
        text=" shoe", prompt_tokens=2, completion_tokens=1, finish=llm_pb2.FINISH_STOP, variant="blurb.fp32"
    )
    asked.end(response.SerializeToString())
    done = await calling
    assert (done.text, done.prompt_tokens, done.completion_tokens, done.finish) == (" shoe", 2, 1, Finish.STOP)
    assert (done.variant, done.budget.report) == ("blurb.fp32", BUDGET)


async def test_a_text_comes_as_it_is_made(served: Any) -> None:
    """Chunk by chunk, the last one with why it ends; the budget after it."""
    at, client = served
    stream = client.generate("A blue", **TEXT)
    reading = asyncio.create_task(read_all(stream))
    asked = await at.start.next()
    assert asked.call.route == "isochrone.v1.Llm/Generate"
    assert llm_pb2.GenerateRequest.FromString(asked.call.request) == llm_pb2.GenerateRequest(prompt="A blue", **TEXT)
    asked.chunk(llm_pb2.GenerateChunk(text=" sh", completion_tokens=1).SerializeToString())
    last = llm_pb2.GenerateChunk(text="oe", completion_tokens=2, finish=llm_pb2.FINISH_LENGTH)
    asked.chunk(last.SerializeToString())
    asked.end()
    assert await reading == [TextChunk(" sh", 1, None), TextChunk("oe", 2, Finish.LENGTH)]
    assert stream.budget.report == BUDGET


async def test_what_does_not_fit_the_wire_names_its_field(served: Any) -> None:
    """Without a round trip."""
    _, client = served
    for field, wrong in (("image", "a path"), ("top_k", -1)):
        with pytest.raises(InvalidRequest) as caught:
            await client.classify(**({"image": b""} | {field: wrong}))
        assert [violation.field for violation in caught.value.violations] == [field]
    for field, wrong in (("prompt", b"\xff"), ("max_tokens", -1), ("seed", "x"), ("stop", [1]), ("top_p", "all")):
        with pytest.raises(InvalidRequest) as caught:
            client.generate(**({"prompt": ""} | {field: wrong}))
        assert [violation.field for violation in caught.value.violations] == [field]


async def test_a_chunk_that_is_no_text_is_an_internal_error(served: Any) -> None:
    """As an answer is that is something else."""
    at, client = served
    reading = asyncio.create_task(anext(client.generate("A blue")))
    (await at.start.next()).chunk(b"\xff\xff\xff")
    with pytest.raises(Internal, match="not a GenerateChunk"):
        await reading


async def test_the_legs_of_a_fan_out_come_as_they_end(served: Any) -> None:
    """Those that stream in chunks before; how each ended comes last, and the budget of the whole after all."""
    at, client = served
    stream = client.fan_out_stream(
        {"text": Leg(REPEAT, b"t"), "shelf": Leg(ECHO, b"s"), "gone": Leg(ECHO, b"g")}, timeout_s=5, tier="gold"
    )
    reading = asyncio.create_task(read_all(stream))
    legs = {asked.call.request: asked for asked in [await at.start.next() for _ in range(3)]}
    assert {asked.call.tier for asked in legs.values()} == {"gold"}
    legs[b"t"].chunk(b"one")
    legs[b"s"].end(b"shelf")
    legs[b"t"].chunk(b"two")
    legs[b"g"].end(error=Unavailable("no node"))
    legs[b"t"].end()
    one, shelf, two, gone, text = await reading
    assert (one, two) == (LegChunk("text", b"one"), LegChunk("text", b"two"))
    assert isinstance(shelf, LegResult)
    assert (shelf.name, shelf.outcome, shelf.payload, shelf.budget.report) == ("shelf", Outcome.OK, b"shelf", BUDGET)
    assert (text.name, text.outcome, text.payload) == ("text", Outcome.OK, b"")
    assert (gone.name, gone.outcome, type(gone.error)) == ("gone", Outcome.MISSED, Unavailable)
    assert stream.budget.total_ms > 0


async def test_a_required_leg_that_fails_ends_the_whole(served: Any) -> None:
    """With its error, after what had arrived; the other legs are left."""
    at, client = served
    stream = client.fan_out_stream({"text": Leg(REPEAT, b"t"), "shelf": Leg(ECHO, b"s", required=True)})
    reading = asyncio.create_task(anext(stream))
    legs = {asked.call.request: asked for asked in [await at.start.next() for _ in range(2)]}
    legs[b"t"].chunk(b"one")
    assert await reading == LegChunk("text", b"one")
    legs[b"s"].end(error=Unavailable("no node"))
    with pytest.raises(Unavailable, match="leg 'shelf': no node"):
        await anext(stream)
    await asyncio.wait_for(legs[b"t"].left.wait(), 10)


async def read_all(stream: Any) -> list[Any]:
    return [part async for part in stream]
