"""A request is checked before it costs anything, and what is wrong with it is named by field."""

from __future__ import annotations

import math
from typing import Any

import pytest

from isochrone.errors import InvalidRequest
from isochrone.v1.llm_pb2 import GenerateRequest
from isochrone_llm.engine import Limits, SamplingParams
from isochrone_llm.folder import LlamaFolder
from isochrone_llm.request import Prompt, RequestReader

LIMITS = Limits(max_context=64, kv_tokens=256, max_seqs=4)


@pytest.fixture
def reader(llama: LlamaFolder) -> RequestReader:
    return RequestReader(llama.codec, LIMITS, default_max_tokens=40)


def read(reader: RequestReader, prompt: str = "name: lamp", **fields: Any) -> Prompt:
    return reader.read(GenerateRequest(prompt=prompt, **fields).SerializeToString())


def test_defaults_are_greedy(reader: RequestReader, llama: LlamaFolder) -> None:
    """What isn't said: the model's length, the likeliest tokens, and no stop strings."""
    assert read(reader) == (tuple(llama.codec.encode("name: lamp")), SamplingParams(max_tokens=40))


def test_everything_said_is_passed_on(reader: RequestReader) -> None:
    fields: dict[str, Any] = {"max_tokens": 7, "temperature": 0.5, "top_p": 0.25, "top_k": 3, "seed": 2**64 - 1}
    assert read(reader, stop=["a", "b"], **fields).params == SamplingParams(stop=("a", "b"), **fields)


def test_default_length_is_what_the_context_leaves(reader: RequestReader) -> None:
    """A caller who names no length is never told that it is too long."""
    prompt = read(reader, prompt="." * 40)
    assert prompt.params.max_tokens == 64 - len(prompt.token_ids) < 40


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"prompt": ""}, "prompt", "empty"),
        ({"prompt": "lamp " * 100}, "prompt", "tokens; the model's context holds 64, its answer included"),
        ({"prompt": "a" * 5000}, "prompt", "5,000 characters; the model's context holds 64 tokens"),
        ({"max_tokens": 64}, "max_tokens", "64 is not 1 to "),
        ({"max_tokens": 2**32 - 1}, "max_tokens", "4,294,967,295 is not 1 to "),
        ({"temperature": -0.5}, "temperature", "-0.5 is not 0 to 100"),
        ({"temperature": math.nan}, "temperature", "nan is not 0 to 100"),
        ({"temperature": math.inf}, "temperature", "inf is not 0 to 100"),
        ({"top_p": -0.5}, "top_p", "-0.5 is not above 0 and at most 1"),
        ({"top_p": 1.5}, "top_p", "1.5 is not above 0 and at most 1"),
        ({"top_p": math.nan}, "top_p", "nan is not above 0"),
        ({"stop": list("abcdefghi")}, "stop", "9 stop strings; there may be 8"),
        ({"stop": ["a", ""]}, "stop[1]", "0 characters; there must be 1 to 64"),
        ({"stop": ["a" * 65]}, "stop[0]", "65 characters"),
    ],
)
def test_what_is_wrong_is_named(reader: RequestReader, fields: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message) as caught:
        read(reader, **fields)
    assert [violation.field for violation in caught.value.violations] == [field]


def test_bytes_that_are_no_request_are_refused(reader: RequestReader) -> None:
    with pytest.raises(InvalidRequest, match="not a GenerateRequest"):
        reader.read(b"\xff\xff")


def test_longest_prompt_that_fits_is_taken(reader: RequestReader) -> None:
    """One token less than the context, so that one can be made."""
    assert len(read(reader, prompt="." * 61, max_tokens=1).token_ids) == 63
    with pytest.raises(InvalidRequest, match="prompt: 64 tokens"):
        read(reader, prompt="." * 62, max_tokens=1)


@pytest.mark.parametrize("limits", [Limits(64, 32, 4), Limits(32, 64, 4)])
def test_memory_limits_a_prompt_as_the_context_does(limits: Limits) -> None:
    """A prompt that no empty engine could hold is refused, or it would wait for ever."""
    limits.check([1] * 16, SamplingParams(max_tokens=16))
    with pytest.raises(InvalidRequest):
        limits.check([1] * 16, SamplingParams(max_tokens=17))
    with pytest.raises(InvalidRequest):
        limits.check([1], SamplingParams(max_tokens=1, top_k=-1))
    with pytest.raises(InvalidRequest):
        limits.check([], SamplingParams(max_tokens=1))


def test_a_tail_goes_behind_the_prompt(reader: RequestReader, llama: LlamaFolder) -> None:
    """Also where there is nothing before it."""
    assert read(reader, "name: ", prompt_tail=["lamp"]).token_ids == tuple(llama.codec.encode("name: lamp"))
    assert read(reader, "", prompt_tail=["name: ", "lamp"]).token_ids == tuple(llama.codec.encode("name: lamp"))
