"""What a caller listens to: the deltas of one prompt, until the one that ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from isochrone_llm.engine import Delta


class Mailbox:
    """Holds what a listener has not heard yet, in one delta however slow the listener is. Of one event loop."""

    def __init__(self) -> None:
        self._unheard: Delta | None = None
        self._ended = False
        self._something = asyncio.Event()

    def put(self, delta: Delta) -> None:
        self._unheard = self._unheard.followed_by(delta) if self._unheard else delta
        self._something.set()

    async def take(self) -> Delta | None:
        """The next delta; None after the one that ends it."""
        if self._ended:
            return None
        await self._something.wait()
        self._something.clear()
        delta, self._unheard = self._unheard, None
        self._ended = delta is not None and delta.finish is not None
        return delta


class Stream(AsyncIterator[Delta]):
    """The listener's end. Whoever drops it, or is cancelled while waiting, cancels the prompt.

    The engine keeps the mailbox and not this, so that nobody's listening any more shows.
    """

    def __init__(self, mailbox: Mailbox, *, cancel: Callable[[], None]) -> None:
        self._mailbox = mailbox
        self._cancel = cancel

    def __del__(self) -> None:
        self._cancel()

    async def __anext__(self) -> Delta:
        try:
            delta = await self._mailbox.take()
        except asyncio.CancelledError:
            self._cancel()
            raise
        if delta is None:
            raise StopAsyncIteration
        return delta
