"""Versions of the link and the envelope, and how two ends agree on one."""

from __future__ import annotations

OLDEST = 1
NEWEST = 1


def agreed(their_min: int, their_max: int) -> int | None:
    """The newest version both ends speak, or None."""
    version = min(NEWEST, their_max)
    return version if version >= max(OLDEST, their_min) else None


def refusal(whose: str, their_min: int, their_max: int) -> str:
    """What to tell an end with which there is no common version."""
    return f"{whose} speaks link versions {their_min} to {their_max}, this end {OLDEST} to {NEWEST}: upgrade the older"
