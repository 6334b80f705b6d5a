"""A generate request as the engine wants it, and the reader that checks requests on their way in."""

from __future__ import annotations

from typing import NamedTuple

from google.protobuf.message import DecodeError

from isochrone.errors import InvalidRequest
from isochrone.v1 import llm_pb2
from isochrone_llm.codec import Codec
from isochrone_llm.engine import Limits, SamplingParams

_MAX_PROMPT_CHARS_PER_TOKEN = 64
"""A prompt of more characters for each token of the context is refused before it is cut into tokens."""


class Prompt(NamedTuple):
    """What to go on from, and how: what `Engine.submit` takes."""

    token_ids: tuple[int, ...]
    params: SamplingParams


class RequestReader:
    """Turns the bytes of GenerateRequests into prompts."""

    def __init__(self, codec: Codec, limits: Limits, *, default_max_tokens: int) -> None:
        self._codec = codec
        self._limits = limits
        self._default_max_tokens = default_max_tokens

    def read(self, payload: bytes) -> Prompt:
        """The prompt in a serialised GenerateRequest. Raises InvalidRequest naming the field that is wrong."""
        try:
            request = llm_pb2.GenerateRequest.FromString(payload)
        except DecodeError as error:
            raise InvalidRequest.of("request", "not a GenerateRequest: its bytes can't be parsed") from error
        prompt = "".join((request.prompt, *request.prompt_tail))
        if not prompt:
            raise InvalidRequest.of("prompt", "empty; there must be at least one character")
        longest = min(self._limits.max_context, self._limits.kv_tokens)
        if len(prompt) > _MAX_PROMPT_CHARS_PER_TOKEN * longest:
            raise InvalidRequest.of(
                "prompt", f"{len(prompt):,} characters; the model's context holds {longest:,} tokens"
            )
        token_ids = tuple(self._codec.encode(prompt))
        params = SamplingParams(
            max_tokens=request.max_tokens or max(1, min(self._default_max_tokens, longest - len(token_ids))),
            temperature=request.temperature,
            top_p=request.top_p or 1.0,
            top_k=request.top_k,
            stop=tuple(request.stop),
            seed=request.seed,
        )
        self._limits.check(token_ids, params)
        return Prompt(token_ids, params)
