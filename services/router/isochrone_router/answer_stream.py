"""An answer that streams over a session: its chunks go out as far as the client's credits last, the rest waits."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable

from isochrone.errors import InvalidRequest
from isochrone.starting import Done, Ended, Taken

MOST_CREDITS = 1024
"""A client may have so many outstanding for one request."""

Send = Callable[[int, bytes, Taken], None]
"""Sends a chunk: its number, its payload, and whom to tell once it has left."""


class AnswerStream:
    """The chunks of one request and then its end, in their order.

    What waits here for credits is bounded by whoever makes the chunks: it makes no more while some aren't taken.
    """

    def __init__(self, send: Send, done: Done, *, credits: int) -> None:
        """Raises InvalidRequest for more credits than a client may have."""
        self._send = send
        self._done = done
        self._credits = 0
        self._number = 0
        self._waiting: deque[tuple[bytes, Taken]] = deque()
        self._ended: Ended | None = None
        self.grant(credits)

    def __repr__(self) -> str:
        return f"<AnswerStream {self._number} chunks sent, {len(self._waiting)} waiting, {self._credits} credits>"

    def chunk(self, payload: bytes, taken: Taken) -> None:
        """A Chunks."""
        self._waiting.append((payload, taken))
        self._flow()

    def end(self, ended: Ended) -> None:
        """A Done. It is passed on after the last chunk."""
        self._ended = ended
        self._flow()

    def grant(self, credits: int) -> None:
        """So many more chunks may go. Raises InvalidRequest for more than a client may have."""
        if self._credits + credits > MOST_CREDITS:
            raise InvalidRequest.of(
                "credits", f"{self._credits + credits} for one request; at most {MOST_CREDITS} may be outstanding"
            )
        self._credits += credits
        self._flow()

    def unbind(self) -> None:
        """The client can grant no more: from here the stream's own flow control holds the chunks up."""
        self._credits = sys.maxsize
        self._flow()

    def _flow(self) -> None:
        while self._waiting and self._credits:
            self._credits -= 1
            self._number += 1
            self._send(self._number, *self._waiting.popleft())
        if self._ended is not None and not self._waiting:
            ended, self._ended = self._ended, None
            self._done(ended)
