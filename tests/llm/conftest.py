"""What tests of the llm service share: a model that learnt few blurbs, built once, and engines that run it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings

from harness.tiny import BLURB
from isochrone_llm.build.recipe import Recipe
from isochrone_llm.engine import Limits
from isochrone_llm.folder import LlamaFolder
from isochrone_llm.samples import Samples
from isochrone_llm.torch_engine import TorchEngine

# No deadline: the machine has others to serve. In CI always the same examples; EXAMPLES=5000 looks harder.
settings.register_profile(
    "llm", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=int(os.environ.get("EXAMPLES", "100"))
)
settings.load_profile("llm")

# Models this small gain nothing by a second thread, and wait for it wherever a core is somebody else's.
torch.set_num_threads(1)

MakeEngine = Callable[..., TorchEngine]


@pytest.fixture(scope="session")
def tiny() -> Recipe:
    """A recipe that takes seconds and makes a poor writer."""
    return BLURB


@pytest.fixture(scope="session")
def built(tiny_blurb: Path) -> Path:
    """The folder of a model built by the tiny recipe. Not to be changed."""
    return tiny_blurb


@pytest.fixture(scope="session")
def llama(built: Path) -> LlamaFolder:
    """That model, loaded."""
    return LlamaFolder.load(built)


@pytest.fixture(scope="session")
def prompts(built: Path, llama: LlamaFolder) -> list[list[int]]:
    """Prompts of different lengths, as tokens."""
    return [llama.codec.encode(prompt) for prompt in Samples.load(built).prompts]


@pytest.fixture
async def make_engine(llama: LlamaFolder) -> AsyncIterator[MakeEngine]:
    """Makes engines of that model: `make_engine(max_seqs=4)`. Those that were started are closed."""
    made: list[TorchEngine] = []

    def make(model: LlamaFolder = llama, *, max_seqs: int = 4, kv_tokens: int = 512, **others: Any) -> TorchEngine:
        limits = Limits(max_context=128, kv_tokens=kv_tokens, max_seqs=max_seqs)
        made.append(TorchEngine(model, limits=limits, **others))
        return made[-1]

    yield make
    for engine in made:
        await engine.close(drain_s=0)
