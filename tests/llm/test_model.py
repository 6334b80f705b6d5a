"""The language model as a node serves it, in a mesh of one process: in chunks, whole, side by side, and cut short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from isochrone.errors import ConfigError, DeadlineExceeded, InvalidRequest
from isochrone.model import EngineState
from isochrone.starting import Ended
from isochrone.testing.mesh import LocalMesh, UnderWay
from isochrone.v1.llm_pb2 import (
    FINISH_DEADLINE,
    FINISH_LENGTH,
    FINISH_STOP,
    FINISH_UNSPECIFIED,
    CompleteResponse,
    GenerateChunk,
    GenerateRequest,
)
from isochrone_llm.engine import SamplingParams
from isochrone_llm.model import COMPLETE, GENERATE, Asked, Writer
from isochrone_llm.request import Prompt
from isochrone_llm.samples import Samples

NOTHING = UnderWay(requests=0, in_lanes=0, on_nodes=0)
ROUTES = {route: {"objective_ms": 5_000, "deadline_ms": 60_000} for route in (GENERATE, COMPLETE)}


@pytest.fixture
async def mesh(built: Path) -> AsyncIterator[LocalMesh]:
    """One node with the tiny model and four places."""
    async with LocalMesh([Writer(built, max_seqs=4)], routes=ROUTES) as mesh:
        yield mesh


def request(prompt: str = "name: lamp", **fields: object) -> bytes:
    return GenerateRequest(prompt=prompt, **fields).SerializeToString()  # type: ignore[arg-type]


async def generated(mesh: LocalMesh, payload: bytes, ends: list[Ended] | None = None) -> list[GenerateChunk]:
    told = [] if ends is None else ends
    return [GenerateChunk.FromString(chunk) async for chunk in mesh.stream(GENERATE, payload, ended=told.append)]


async def completed(mesh: LocalMesh, payload: bytes, *, timeout_s: float | None = None) -> CompleteResponse:
    return CompleteResponse.FromString((await mesh.call(COMPLETE, payload, timeout_s=timeout_s)).payload)


async def test_the_same_text_in_chunks_and_whole(mesh: LocalMesh) -> None:
    """The last chunk says why it ends, and the budget how many tokens there were."""
    ends: list[Ended] = []
    chunks = await generated(mesh, request(), ends)
    whole = await completed(mesh, request())
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [chunk.finish for chunk in chunks[:-1]] == [FINISH_UNSPECIFIED] * (len(chunks) - 1)
    assert chunks[-1].finish == whole.finish == FINISH_STOP
    assert chunks[-1].completion_tokens == whole.completion_tokens
    assert whole.variant == "blurb.fp32"
    budget = ends[0].budget
    assert (budget.chunks, budget.units) == (len(chunks), whole.prompt_tokens + whole.completion_tokens)
    assert 0 < budget.first_us < budget.total_us


async def test_more_prompts_than_places(mesh: LocalMesh, built: Path) -> None:
    """Each is answered as if it were alone."""
    prompts = Samples.load(built).prompts[:10]
    alone = [await completed(mesh, request(prompt)) for prompt in prompts]
    assert list(await asyncio.gather(*(completed(mesh, request(prompt)) for prompt in prompts))) == alone
    assert mesh.under_way == NOTHING


async def test_a_length(mesh: LocalMesh) -> None:
    """Of the caller's."""
    assert (await completed(mesh, request(max_tokens=3))).finish == FINISH_LENGTH
    assert (await generated(mesh, request(max_tokens=3)))[-1].completion_tokens == 3


class SlowWriter(Writer):
    """Takes half a second more for each step, once it is told to."""

    slow = False

    def load(self) -> None:
        super().load()
        runner = self._engine._loop._runner  # type: ignore[attr-defined]
        forward = runner.forward

        def slowed(*of: object) -> object:
            if self.slow:
                time.sleep(0.5)
            return forward(*of)

        runner.forward = slowed


async def test_time_runs_out(built: Path) -> None:
    """A text that isn't through by its deadline comes as far as it is; one that isn't begun is an error.

    The deadline falls on the end of a step, so the step before it is the time that the last word has.
    """
    writer = SlowWriter(built, max_seqs=4)
    async with LocalMesh([writer], routes=ROUTES) as mesh:
        writer.slow = True
        whole = await completed(mesh, request(), timeout_s=2.0)
        assert whole.finish == FINISH_DEADLINE
        assert 0 < whole.completion_tokens < 5
        with pytest.raises(DeadlineExceeded):
            await completed(mesh, request(), timeout_s=0.03)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (request(""), "prompt"),
        (request("x" * 100_000), "prompt"),
        (b"\x0a\x02\xff\xfe", "request"),  # a prompt that is not UTF-8
        (request(temperature=-1), "temperature"),
        (request(temperature=float("nan")), "temperature"),
        (request(top_p=2), "top_p"),
        (request(max_tokens=1_000_000), "max_tokens"),
        (request(stop=["a"] * 9), "stop"),
    ],
)
async def test_what_is_wrong_is_named(mesh: LocalMesh, payload: bytes, field: str) -> None:
    """Before a single token, in chunks as whole."""
    with pytest.raises(InvalidRequest) as caught:
        await completed(mesh, payload)
    assert caught.value.violations[0].field == field
    with pytest.raises(InvalidRequest) as caught:
        await generated(mesh, payload)
    assert caught.value.violations[0].field == field


async def test_whoever_leaves_frees_a_place(mesh: LocalMesh) -> None:
    """In the middle of a text, and while it waits for its turn."""
    streams = [mesh.stream(GENERATE, request(max_tokens=100)) for _ in range(8)]
    readers = [asyncio.ensure_future(anext(stream)) for stream in streams]
    await asyncio.wait(readers, return_when=asyncio.FIRST_COMPLETED)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]
    while mesh.under_way != NOTHING:
        await asyncio.sleep(0.001)
    assert (await completed(mesh, request())).finish == FINISH_STOP


def asked(tokens: int) -> Asked:
    return Asked(Prompt((0,), SamplingParams(max_tokens=tokens - 1)), in_chunks=True)


def test_room_is_what_sequences_and_tokens_leave(built: Path) -> None:
    """Where there are fewer tokens than all places could need, prompts like those that run are counted on."""
    writer = Writer(built, max_seqs=4, kv_tokens=128)
    writer.load()
    assert writer.room([]) == 4
    assert writer.room([asked(16)]) == 3
    assert writer.room([asked(64)]) == 1
    assert writer.room([asked(64), asked(64)]) == 0
    assert writer.room([asked(4)] * 4) == 0


async def test_the_model_tells_how_busy_it_is(built: Path) -> None:
    """What runs, and the tokens that are set aside for it, of those there is room for."""
    writer = Writer(built, max_seqs=4)
    writer.load()
    await writer.open()
    item = writer.example(128)
    told = [writer.engine_state() async for _ in writer.run(item, name="one", deadline_s=float("inf"))]
    assert EngineState(active=1, waiting=0, kv_used=128, kv_room=512) in told
    await writer.close(drain_s=0)


def test_limits_that_the_model_has_not(built: Path) -> None:
    """The configuration is told."""
    with pytest.raises(ConfigError, match="128 positions"):
        Writer(built, max_context=4096).load()
