"""The language model as a node serves it: prompts in, text out, piece by piece or whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

from isochrone.deadline import Deadline
from isochrone.errors import Cancelled, DeadlineExceeded, IsochroneError, Unavailable
from isochrone.model import EngineState, Part
from isochrone.v1.llm_pb2 import (
    FINISH_DEADLINE,
    FINISH_LENGTH,
    FINISH_STOP,
    FINISH_UNSPECIFIED,
    CompleteResponse,
    GenerateChunk,
)
from isochrone_llm.engine import Delta, Engine, Finish, Limits, SamplingParams
from isochrone_llm.folder import LlamaFolder
from isochrone_llm.request import Prompt, RequestReader
from isochrone_llm.torch_engine import TorchEngine

GENERATE = "isochrone.v1.Llm/Generate"
COMPLETE = "isochrone.v1.Llm/Complete"
_FINISHES = {
    None: FINISH_UNSPECIFIED,
    Finish.STOP: FINISH_STOP,
    Finish.LENGTH: FINISH_LENGTH,
    Finish.DEADLINE: FINISH_DEADLINE,
}


class Asked(NamedTuple):
    """A prompt, and how its text is wanted."""

    prompt: Prompt
    in_chunks: bool


class Writer:
    """A variant of the language model on one device, behind an `Engine`. An item is an `Asked`."""

    routes: Sequence[str] = (GENERATE, COMPLETE)
    unit = "tokens"

    def __init__(
        self,
        directory: Path,
        *,
        device: str = "cpu",
        threads: int = 1,
        max_seqs: int = 8,
        max_context: int | None = None,
        kv_tokens: int | None = None,
        say_every_s: float = 0.0,
    ) -> None:
        """The model in `directory`, which is read by `load`. For the limits see `Limits`; unset, the model's own. What
        comes of a text within `say_every_s` is one chunk."""
        self.variant = directory.name
        self.max_units = max_context or 0
        """Tokens of a prompt and its completion together; the model's own once it is loaded, where unset."""
        self._max_seqs = max_seqs
        self._directory = directory
        self._device = device
        self._threads = threads
        self._kv_tokens = kv_tokens
        self._say_every_s = say_every_s

    def __repr__(self) -> str:
        return f"<Writer {self.variant} on {self._device} from {self._directory}>"

    def room(self, running: Sequence[Asked]) -> int:
        """Sequences are left for them, and tokens, if they are like those that run."""
        limits = self._engine.limits
        seqs = limits.max_seqs - len(running)
        held = sum(map(self.weigh, running))
        return min(seqs, (limits.kv_tokens - held) * len(running) // held) if held else seqs

    def engine_state(self) -> EngineState:
        stats = self._engine.stats()
        return EngineState(stats.active, stats.waiting, stats.kv_used, self._engine.limits.kv_tokens)

    def load(self) -> None:
        """Brings the model into memory. Raises ConfigError where it can't be had, or not within the limits."""
        llama = LlamaFolder.load(self._directory, device=self._device)
        context = self.max_units = self.max_units or llama.model.config.max_position_embeddings
        limits = Limits(
            max_context=context, kv_tokens=self._kv_tokens or self._max_seqs * context, max_seqs=self._max_seqs
        )
        self._engine: Engine = TorchEngine(llama, limits=limits, threads=self._threads, say_every_s=self._say_every_s)
        self._reader = RequestReader(llama.codec, limits, default_max_tokens=llama.default_max_tokens)

    async def open(self) -> None:
        await self._engine.start()

    async def watch(self) -> None:
        await self._engine.watch()

    async def close(self, *, drain_s: float) -> None:
        await self._engine.close(drain_s=drain_s)

    def decode(self, route: str, payload: bytes) -> Asked:
        """The prompt in a serialised GenerateRequest. Raises InvalidRequest naming the field that is wrong."""
        return Asked(self._reader.read(payload), route == GENERATE)

    def weigh(self, item: Asked) -> int:
        """The tokens that it may come to."""
        return len(item.prompt.token_ids) + item.prompt.params.max_tokens

    async def run(self, item: Asked, *, name: str, deadline_s: float) -> AsyncIterator[Part]:
        """GenerateChunks as they come, or one CompleteResponse at the end."""
        token_ids, params = item.prompt
        text: list[str] = []
        async for delta in self._engine.submit(name, token_ids, params, Deadline(deadline_s)):
            units = len(token_ids) + delta.completion_tokens
            error = _failure(delta)
            if item.in_chunks and (delta.text or error is None):
                chunk = GenerateChunk(
                    text=delta.text,
                    completion_tokens=delta.completion_tokens,
                    finish=_FINISHES.get(delta.finish, FINISH_UNSPECIFIED),
                )
                yield Part(chunk.SerializeToString(), units)
            if error is not None:
                raise error
            if item.in_chunks:
                continue
            text.append(delta.text)
            if delta.finish is not None:
                answer = CompleteResponse(
                    text="".join(text),
                    prompt_tokens=len(token_ids),
                    completion_tokens=delta.completion_tokens,
                    finish=_FINISHES[delta.finish],
                    variant=self.variant,
                )
                yield Part(answer.SerializeToString(), units)

    def example(self, units: int) -> Asked:
        """A prompt of one token, whatever it means, that goes on until there are so many."""
        return Asked(Prompt((0,), SamplingParams(max_tokens=max(1, units - 1))), in_chunks=True)


def _failure(delta: Delta) -> IsochroneError | None:
    """What a caller is told in place of the rest of a text."""
    match delta.finish:
        case Finish.FAILED:
            return delta.error
        case Finish.CLOSED:
            return Unavailable("the node is leaving", reason="DRAINING")
        case Finish.CANCELLED:
            return Cancelled("nobody waits for it any more")
        case Finish.DEADLINE if not delta.completion_tokens:
            return DeadlineExceeded("there was no time for a single token")
    return None
