"""What is asked of a text model and what comes back, and the translations to and from the wire."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from isochrone.client.budget import Budget
from isochrone.client.fields import extend, fill, parsed
from isochrone.client.transport import Answer
from isochrone.v1 import llm_pb2

COMPLETE = "isochrone.v1.Llm/Complete"
GENERATE = "isochrone.v1.Llm/Generate"


class Finish(StrEnum):
    """Why a text ends."""

    STOP = "stop"
    """The model said so, or a stop string came."""
    LENGTH = "length"
    """`max_tokens` is reached."""
    DEADLINE = "deadline"
    """Time is up: this is what there was time for."""


_FINISHES = {
    llm_pb2.FINISH_STOP: Finish.STOP,
    llm_pb2.FINISH_LENGTH: Finish.LENGTH,
    llm_pb2.FINISH_DEADLINE: Finish.DEADLINE,
}


@dataclass(frozen=True, slots=True)
class Completion:
    """A text that goes on from a prompt."""

    text: str
    """Without the prompt."""
    prompt_tokens: int
    completion_tokens: int
    finish: Finish | None
    """None for a reason that a newer server has."""
    variant: str
    """The model variant that wrote it."""
    budget: Budget | None
    """Where the time went; None where the server did not say."""


@dataclass(frozen=True, slots=True)
class TextChunk:
    """A part of a text that is being made."""

    text: str
    """What is new: whole characters, and never part of a stop string."""
    completion_tokens: int
    """Made so far."""
    finish: Finish | None
    """None: it goes on."""


def text_request(
    prompt: str, *, max_tokens: int, temperature: float, top_p: float, top_k: int, stop: Iterable[str], seed: int
) -> bytes:
    """A GenerateRequest's bytes. Raises InvalidRequest naming the field whose value doesn't fit the wire."""
    request = llm_pb2.GenerateRequest()
    fill(
        request,
        prompt=prompt,
        max_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
    )
    extend(request.stop, "stop", (stop,) if isinstance(stop, str) else stop)
    return request.SerializeToString()


def completion_of(answer: Answer) -> Completion:
    """The completion in an answer. Raises Internal where its bytes are something else."""
    response = parsed(llm_pb2.CompleteResponse, answer.payload)
    return Completion(
        response.text,
        response.prompt_tokens,
        response.completion_tokens,
        _FINISHES.get(response.finish),
        response.variant,
        answer.budget,
    )


def text_chunk_of(payload: bytes) -> TextChunk:
    """The part of a text in a chunk. Raises Internal where its bytes are something else."""
    chunk = parsed(llm_pb2.GenerateChunk, payload)
    return TextChunk(chunk.text, chunk.completion_tokens, _FINISHES.get(chunk.finish))
