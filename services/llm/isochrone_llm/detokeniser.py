"""Turns tokens into text as they come, a whole character at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What bytes decode to that aren't a character, or not yet."""


class Detokeniser:
    """The text of one sequence of tokens.

    A token may hold half a character, and what one decodes to may depend on the token before it (some decoders
    drop a leading space). So a few are decoded together, and the text that was said before is left out.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        """From the last one that ended with a whole character."""
        self._said_chars = 0
        """Of what these decode to."""

    def push(self, token: int) -> str:
        """The text that the token adds: nothing while a character isn't whole."""
        self._tokens.append(token)
        text = self._decode(self._tokens)
        # Bytes at the end that may yet become one character decode to one replacement character.
        whole = text.removesuffix(_BROKEN)
        added = whole[self._said_chars :]
        if added and len(whole) == len(text):
            self._tokens = [token]
            self._said_chars = len(self._decode(self._tokens))
        else:
            self._said_chars += len(added)
        return added

    def flush(self) -> str:
        """What is left when no more tokens come: a replacement character for half of one."""
        rest = self._decode(self._tokens)[self._said_chars :] if self._tokens else ""
        self._said_chars += len(rest)
        return rest
