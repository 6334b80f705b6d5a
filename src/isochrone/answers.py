"""Last good answers: what one is kept under, as what, and where."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Awaitable
from typing import NamedTuple, Protocol

DIGEST_BYTES = 32
_VERSION = 1
_HEAD = struct.Struct(">BQ")


class Kept(NamedTuple):
    """An answer that was made for the same request before."""

    payload: bytes
    age_s: float


class AnswerStore(Protocol):
    """Where all routers of a mesh keep answers. What it does with them is never worth a request's while: it fails by
    having none, and forgets what it has no time for."""

    def get(self, digest: bytes) -> Awaitable[Kept | None]:
        """None where there is none, or the store doesn't answer. May be left at any time."""

    def put(self, digest: bytes, payload: bytes, *, ttl_s: float) -> None:
        """Keeps it, some time soon, or not. Never waits."""

    async def run(self) -> None:
        """Stays connected until cancelled."""

    def close(self) -> None: ...


def digest_of(route: str, *, variant: str, caller: str, request: bytes) -> bytes:
    """What an answer is kept under: whole requests of one caller, so that nobody gets what was made for another.

    256 bits, so that no two requests can be made that share one. Lengths go in, so that no two requests are one text.
    """
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES, person=b"isochrone.answer")
    for part in (route.encode(), variant.encode(), caller.encode()):
        digest.update(len(part).to_bytes(4))
        digest.update(part)
    digest.update(request)
    return digest.digest()


def packed(payload: bytes, *, ttl_ms: int) -> bytes:
    """An answer in its envelope: version, the time it was given to live, the answer."""
    return _HEAD.pack(_VERSION, ttl_ms) + payload


def unpacked(value: bytes, *, left_ms: int) -> Kept | None:
    """The answer in an envelope that is kept for so long yet; None where another version made it.

    Its age is the time it was given less what is left of that: no clock but its keeper's is asked.
    """
    if len(value) < _HEAD.size or value[0] != _VERSION:
        return None
    _, ttl_ms = _HEAD.unpack_from(value)
    return Kept(value[_HEAD.size :], max(0, ttl_ms - left_ms) / 1e3)
