"""Text to tokens and back, as a model's tokenizer.json says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from isochrone.errors import ConfigError


class Codec:
    """A tokenizer. Safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        # A caller who writes "</s>" means these four characters. What special tokens a prompt needs is added here.
        tokenizer.encode_special_tokens = True
        tokenizer.no_truncation()
        tokenizer.no_padding()

    def __repr__(self) -> str:
        return f"<Codec of {self.vocabulary:,} tokens>"

    @classmethod
    def parse(cls, content: bytes, *, path: Path) -> Codec:
        """The tokenizer in the content of a tokenizer.json. Raises ConfigError, naming `path`."""
        try:
            return cls(Tokenizer.from_buffer(content))
        except ValueError as error:
            raise ConfigError(f"{path}: not a tokenizer: {error}") from error

    @property
    def vocabulary(self) -> int:
        """How many tokens there are, special ones included."""
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """The tokens of a prompt, with those that the model wants around it."""
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids

    def encode_bare(self, text: str) -> list[int]:
        """The tokens of the text and no others."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """Their text, special tokens left out."""
        return self._tokenizer.decode(token_ids)
