"""An answer that streams, as callers hold it: an iterator of its chunks that has the budget once it has ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from types import TracebackType
from typing import Generic, Self, TypeVar

from isochrone.client.budget import Budget
from isochrone.client.transport import Reply

T = TypeVar("T")


class ChunkStream(Generic[T]):
    """Chunks in their order, by `async for`. For one task at a time.

    The request is sent when the first chunk is asked for. A reader that pauses holds the mesh up; nothing piles up
    meanwhile. An error comes after the chunks that were before it, with its `budget`. To leave early is to cancel
    the request in the mesh: `async with` or `aclose` do so at once, and so does cancelling the task that waits; a
    stream that is dropped is closed by the event loop.
    """

    def __init__(self, parts: AsyncGenerator[bytes | Reply, None], decoded: Callable[[bytes], T]) -> None:
        self._parts = parts
        self._decoded = decoded
        self.budget: Budget | None = None
        """Where the time went, once the stream has ended; None where the server did not say."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        """Raises isochrone.errors as `Client.call` does."""
        part = await anext(self._parts)
        if isinstance(part, bytes):
            return self._decoded(part)
        await self.aclose()
        self.budget = part.budget
        part.opened()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends it; what was on its way is lost. Idempotent."""
        await self._parts.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class SyncChunkStream(Generic[T]):
    """As ChunkStream, by `for`, `with` and `close`; a stream that is dropped is closed at once."""

    def __init__(self, parts: Generator[bytes | Reply, None, None], decoded: Callable[[bytes], T]) -> None:
        self._parts = parts
        self._decoded = decoded
        self.budget: Budget | None = None
        """Where the time went, once the stream has ended; None where the server did not say."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        """Raises isochrone.errors as `Client.call` does."""
        part = next(self._parts)
        if isinstance(part, bytes):
            return self._decoded(part)
        self.close()
        self.budget = part.budget
        part.opened()
        raise StopIteration

    def close(self) -> None:
        """Ends it; what was on its way is lost. Idempotent."""
        self._parts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
