"""Callers of the language model: a process of its own that keeps some texts under way for a while, and prints JSON.

    python -m bench.texts --target 127.0.0.1:50051 --callers 16
    python -m bench.texts --engine --callers 16

Callers ask the mesh over the product's own client, or with `--engine` the engine alone, which runs in this process
with the settings of a node. Each asks for its next text when its last one is through. Tokens are counted as they come;
latency is the time from the request to the first of them. The window and what is read at its ends are bench/load.py's.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import uvloop
from google.rpc import code_pb2

from bench.load import Recorder, Window, between, pids_of, summary
from bench.models import BLURB, built
from isochrone.client import Client
from isochrone.client.text import COMPLETE, GENERATE, completion_of, text_chunk_of
from isochrone.deadline import Deadline
from isochrone.errors import IsochroneError
from isochrone.status import code_of
from isochrone_llm.samples import sample_requests

TIMEOUT_S = 20.0
DIFFERENT = 256

Text: TypeAlias = Callable[[bytes], AsyncIterator[int]]
"""Asks for a text; gives the number of its tokens so far whenever there are more."""


class Tokens:
    """Counts those of all callers."""

    def __init__(self) -> None:
        self.made = 0
        self.texts = 0


async def caller(text: Text, requests: itertools.cycle[bytes], recorder: Recorder, tokens: Tokens) -> None:
    """One text after the other, until cancelled."""
    while True:
        counts, asked_s, before = recorder.recording, time.monotonic(), 0
        try:
            async for so_far in text(next(requests)):
                if counts and not before:
                    recorder.latencies_s.append(time.monotonic() - asked_s)
                    recorder.lags_s.append(0.0)
                tokens.made += so_far - before
                before = so_far
        except IsochroneError as error:
            recorder.errors[code_pb2.Code.Name(code_of(error))] += 1
            await asyncio.sleep(0.01)
        tokens.texts += 1
        recorder.finished += 1


@asynccontextmanager
async def over_mesh(target: str, *, whole: bool) -> AsyncIterator[Text]:
    """Over a session, in chunks or as one answer."""
    client = Client(target, sessions=1)

    async def text(request: bytes) -> AsyncIterator[int]:
        if whole:
            yield completion_of(await client.call(COMPLETE, request, timeout_s=TIMEOUT_S)).completion_tokens
            return
        async with client.stream(GENERATE, request, timeout_s=TIMEOUT_S) as chunks:
            async for chunk in chunks:
                yield text_chunk_of(chunk).completion_tokens

    async with client:
        yield text


@asynccontextmanager
async def over_engine(directory: Path) -> AsyncIterator[Text]:
    """The engine alone, made as a node makes it, and closed: its thread must not outlive the interpreter."""
    from isochrone_llm.engine import Limits  # torch is for this side only
    from isochrone_llm.folder import LlamaFolder
    from isochrone_llm.request import RequestReader
    from isochrone_llm.settings import LlmOptions
    from isochrone_llm.torch_engine import TorchEngine

    options = LlmOptions()
    llama = LlamaFolder.load(directory)
    context = llama.model.config.max_position_embeddings
    limits = Limits(max_context=context, kv_tokens=options.max_seqs * context, max_seqs=options.max_seqs)
    engine = TorchEngine(llama, limits=limits, threads=options.threads, say_every_s=options.chunk_ms / 1e3)
    reader = RequestReader(llama.codec, limits, default_max_tokens=llama.default_max_tokens)
    await engine.start()
    names = itertools.count()

    async def text(request: bytes) -> AsyncIterator[int]:
        token_ids, params = reader.read(request)
        deadline = Deadline(time.monotonic() + TIMEOUT_S)
        async for delta in engine.submit(str(next(names)), token_ids, params, deadline):
            yield delta.completion_tokens

    try:
        yield text
    finally:
        await engine.close(drain_s=0)


async def run(args: argparse.Namespace) -> dict[str, Any]:
    directory = built(BLURB)
    requests = itertools.cycle(
        [request.SerializeToString() for request in itertools.islice(sample_requests(directory), DIFFERENT)]
    )
    async with over_engine(directory) if args.engine else over_mesh(args.target, whole=args.whole) as text:
        return await measured(args, text, requests)


async def measured(args: argparse.Namespace, text: Text, requests: itertools.cycle[bytes]) -> dict[str, Any]:
    """One window of callers."""
    recorder, tokens = Recorder(), Tokens()
    gc.collect()
    gc.freeze()
    pids = pids_of(args.pid)
    if args.engine:  # then this process is what serves, and nothing to speak of asks
        pids["engine"] = pids.pop("load")
    window = Window(recorder, pids)
    callers = [asyncio.create_task(caller(text, requests, recorder, tokens)) for _ in range(args.callers)]
    begin_s = time.monotonic() + args.warmup
    await asyncio.sleep(args.warmup)
    made, texts = tokens.made, tokens.texts
    used = await between(window, begin_s, begin_s + args.seconds)
    made, texts = tokens.made - made, tokens.texts - texts
    for each in callers:
        each.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    found = {"closed": args.callers, "tokens": made, "texts": texts}
    return found | used | summary(recorder)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.texts", description=__doc__.split("\n")[0])
    side = parser.add_mutually_exclusive_group(required=True)
    side.add_argument("--target", help="a router's address")
    side.add_argument("--engine", action="store_true", help="the engine alone")
    parser.add_argument("--callers", type=int, required=True, metavar="N", help="texts under way")
    parser.add_argument("--whole", action="store_true", help="each text as one answer")
    parser.add_argument("--warmup", type=float, default=1.0, metavar="S")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S")
    parser.add_argument("--pid", action="append", default=[], metavar="NAME=PID", help="process to account for")
    args = parser.parse_args(argv)
    json.dump(uvloop.run(run(args)), sys.stdout)


if __name__ == "__main__":
    main()
