"""Any text becomes tokens and the same text again, and comes out of them a whole character at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isochrone.errors import ConfigError
from isochrone_llm.codec import Codec
from isochrone_llm.detokeniser import Detokeniser
from isochrone_llm.folder import LlamaFolder

HARD = (
    st.text()
    | st.text(alphabet="aé€😀\N{REPLACEMENT CHARACTER} \n")
    | st.sampled_from(["</s>", "<s><blurb>", "👩‍👩‍👧"])
)


@given(text=HARD)
def test_any_text_survives(llama: LlamaFolder, text: str) -> None:
    """What isn't in the vocabulary is spelt in bytes."""
    assert llama.codec.decode(llama.codec.encode_bare(text)) == text


@given(text=HARD)
def test_special_tokens_are_added_and_never_written_by_callers(llama: LlamaFolder, text: str) -> None:
    """A prompt is <s>, its text, <blurb>; "</s>" in the text is four characters."""
    first, *bare, last = llama.codec.encode(text)
    assert (first, last) == (0, 3)
    assert bare == llama.codec.encode_bare(text)
    assert not {0, 1, 2, 3} & set(bare)


@given(text=HARD)
def test_pieces_are_the_text(llama: LlamaFolder, text: str) -> None:
    """Token by token, whole characters that add up to the text: what is shown is never taken back."""
    detokeniser = Detokeniser(llama.codec.decode)
    said = ""
    for token in llama.codec.encode_bare(text):
        said += detokeniser.push(token)
        assert text.startswith(said)
    assert said + detokeniser.flush() == text
    assert detokeniser.flush() == ""


@given(tokens=st.lists(st.integers(0, 599)))
def test_any_tokens_give_what_they_decode_to(llama: LlamaFolder, tokens: list[int]) -> None:
    """A model may make tokens that are no UTF-8, or special ones: replacement characters, and nothing."""
    detokeniser = Detokeniser(llama.codec.decode)
    said = "".join(map(detokeniser.push, tokens))
    assert said + detokeniser.flush() == llama.codec.decode(tokens)


def test_half_a_character_waits(llama: LlamaFolder) -> None:
    """Four bytes of one emoji: three tokens say nothing, the fourth says it."""
    detokeniser = Detokeniser(llama.codec.decode)
    assert [detokeniser.push(token) for token in llama.codec.encode_bare("😀")] == ["", "", "", "😀"]


def test_half_a_character_at_the_end_is_shown_as_broken(llama: LlamaFolder) -> None:
    detokeniser = Detokeniser(llama.codec.decode)
    assert [detokeniser.push(token) for token in llama.codec.encode_bare("é😀")[:-1]][-3:] == ["", "", ""]
    assert detokeniser.flush() == "\N{REPLACEMENT CHARACTER}"


def test_what_is_no_tokenizer_is_named() -> None:
    with pytest.raises(ConfigError, match=r"tokenizer\.json: not a tokenizer"):
        Codec.parse(b"{}", path=Path("tokenizer.json"))
