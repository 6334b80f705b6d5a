"""The language model on an accelerator: the same engine, the same promises."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import torch

from isochrone.deadline import Deadline
from isochrone.testing.mesh import LocalMesh
from isochrone.v1.llm_pb2 import FINISH_STOP, CompleteResponse, GenerateChunk, GenerateRequest
from isochrone_llm.engine import Delta, Finish, Limits, SamplingParams
from isochrone_llm.folder import LlamaFolder
from isochrone_llm.model import COMPLETE, GENERATE, Writer
from isochrone_llm.samples import Samples
from isochrone_llm.torch_engine import TorchEngine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
]

ROUTES = {route: {"objective_ms": 5_000, "deadline_ms": 60_000} for route in (GENERATE, COMPLETE)}


async def texts(llama: LlamaFolder, prompts: list[list[int]], params: SamplingParams) -> list[list[Delta]]:
    engine = TorchEngine(llama, limits=Limits(max_context=128, kv_tokens=2048, max_seqs=16))
    await engine.start()

    async def one(number: int) -> list[Delta]:
        return [delta async for delta in engine.submit(str(number), prompts[number], params, Deadline.never())]

    try:
        return list(await asyncio.gather(*(one(number) for number in range(len(prompts)))))
    finally:
        await engine.close(drain_s=0)


async def test_greedy_texts_are_the_cpus(built: Path, llama: LlamaFolder, prompts: list[list[int]]) -> None:
    """Side by side, with prompts of many lengths. Rounding decides only between tokens that are all but equal."""
    params = SamplingParams(max_tokens=40)
    here = await texts(llama, prompts, params)
    there = await texts(LlamaFolder.load(built, device="cuda"), prompts, params)
    same = sum(
        [token for delta in mine for token in delta.token_ids] == [token for delta in its for token in delta.token_ids]
        for mine, its in zip(here, there, strict=True)
    )
    assert same >= 0.9 * len(prompts)
    assert {deltas[-1].finish for deltas in there} <= {Finish.STOP, Finish.LENGTH}


async def test_a_seed_is_kept(built: Path, prompts: list[list[int]]) -> None:
    """The same text, whatever runs beside it."""
    llama = LlamaFolder.load(built, device="cuda")
    params = SamplingParams(max_tokens=30, temperature=1.0, top_p=0.9, top_k=50, seed=11)
    alone = await texts(llama, prompts[:1], params)
    beside = await texts(llama, prompts, params)
    assert "".join(delta.text for delta in alone[0]) == "".join(delta.text for delta in beside[0])


async def test_in_a_mesh(built: Path) -> None:
    """Chunks and whole texts, many at a time."""
    async with LocalMesh([Writer(built, device="cuda", max_seqs=8)], routes=ROUTES) as mesh:

        async def whole(prompt: str) -> CompleteResponse:
            request = GenerateRequest(prompt=prompt).SerializeToString()
            return CompleteResponse.FromString((await mesh.call(COMPLETE, request)).payload)

        async def in_chunks(prompt: str) -> str:
            request = GenerateRequest(prompt=prompt).SerializeToString()
            return "".join([GenerateChunk.FromString(chunk).text async for chunk in mesh.stream(GENERATE, request)])

        prompts = Samples.load(built).prompts[:16]
        texts = await asyncio.gather(*map(whole, prompts))
        assert {text.finish for text in texts} == {FINISH_STOP}
        chunked = await asyncio.gather(*map(in_chunks, prompts))
        assert sum(one == text.text for one, text in zip(chunked, texts, strict=True)) >= 14
