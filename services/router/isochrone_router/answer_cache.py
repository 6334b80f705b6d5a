"""Last good answers of this router process: the latest of them here, all of them where every router finds them."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from isochrone.answers import AnswerStore, Kept
from isochrone.config import CacheConfig
from isochrone.deadline import Clock

REFRESH_S = 1.0
"""An answer that is younger is not replaced: once a second is good enough for what is there for bad days."""
_OVERHEAD_BYTES = 300
"""Of an answer that is kept, its bytes aside."""


class AnswerCache:
    """An LRU by bytes, in front of a store. Answers are sought here first."""

    def __init__(self, config: CacheConfig, *, store: AnswerStore | None, clock: Clock) -> None:
        self.store = store
        """None: they are kept here alone."""
        self.stall_s = config.stall_ms / 1e3
        self._most_bytes = config.memory_bytes
        self._largest_bytes = config.answer_bytes
        self._clock = clock
        self._answers: OrderedDict[bytes, _Remembered] = OrderedDict()
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<AnswerCache {len(self._answers)} answers, {self._bytes} bytes, {self.store or 'in memory alone'}>"

    def remember(self, digest: bytes, payload: bytes, *, ttl_s: float) -> None:
        """A request has been answered. For every one, after its answer has left."""
        now_s = self._clock()
        known = self._answers.get(digest)
        if (known is not None and now_s - known.made_s < REFRESH_S) or len(payload) > self._largest_bytes:
            return
        self._keep(digest, _Remembered(payload, now_s))
        if self.store is not None:
            self.store.put(digest, payload, ttl_s=ttl_s)

    def recall(self, digest: bytes, *, ttl_s: float) -> Kept | None:
        """What this process has itself."""
        known = self._answers.get(digest)
        if known is None:
            return None
        age_s = self._clock() - known.made_s
        if age_s > ttl_s:
            self._drop(digest)
            return None
        self._answers.move_to_end(digest)
        return Kept(known.payload, age_s)

    async def fetch(self, digest: bytes, *, ttl_s: float) -> Kept | None:
        """What another process may have kept. However long that takes: who can't wait leaves."""
        if self.store is None:
            return None
        found = await self.store.get(digest)
        if found is None or found.age_s > ttl_s:
            return None
        answer, known = _Remembered(found.payload, self._clock() - found.age_s), self._answers.get(digest)
        if known is None or known.made_s < answer.made_s:  # else there was an answer meanwhile
            self._keep(digest, answer)
        return found

    def _keep(self, digest: bytes, answer: _Remembered) -> None:
        self._drop(digest)
        self._answers[digest] = answer
        self._bytes += len(answer.payload) + _OVERHEAD_BYTES
        while self._bytes > self._most_bytes:
            self._drop(next(iter(self._answers)))

    def _drop(self, digest: bytes) -> None:
        gone = self._answers.pop(digest, None)
        if gone is not None:
            self._bytes -= len(gone.payload) + _OVERHEAD_BYTES


class _Remembered(NamedTuple):
    payload: bytes
    made_s: float
    """On this process's clock."""
