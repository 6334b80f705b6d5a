"""Every key the mesh has in Redis, and how long each lives.

    {mesh}:lane:<lane>:<tier>     sorted set of jobs, score = when they are due      LANE_TTL_MS, from the last push
    {mesh}:routers, {mesh}:nodes  sets of boot ids that have announced themselves    INDEX_TTL_MS, from the last beat
    {mesh}:router:<boot>          JSON: name, lanes in use                           RECORD_TTL_MS, from the last beat
    {mesh}:node:<boot>            JSON: name, address, device, lanes it claims from  RECORD_TTL_MS, from the last beat
    {mesh}:quota:<caller>         a bucket of tokens: its level, as of when        until full, at least BUCKET_TTL_MS
    {mesh}:slots:<caller>         hash of boot ids: slots held, wanted, until when   SLOTS_TTL_MS, from the last renewal

In the cache, which is another database or server:

    <mesh>:answer:<digest>        a last good answer (isochrone.answers)             its route's ttl_s, from its answer

Nothing is permanent. `{mesh}` is a hash tag: in a cluster all keys of a mesh share a slot. Answers spread.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

HEARTBEAT_S = 1.0
RECORD_TTL_MS = 3_500
INDEX_TTL_MS = 60_000
LANE_TTL_MS = 60_000
BUCKET_TTL_MS = 60_000
SLOTS_TTL_MS = 3_500
"""Of a router that has died, the slots come back after this."""


class Tier(StrEnum):
    """The queues within a lane, in the order they are claimed from."""

    GOLD = "gold"
    STANDARD = "standard"
    BATCH = "batch"


TIERS = tuple(Tier)
"""In that order. To go through an enum itself takes longer than most of what is done for each of its members."""


class Queue(NamedTuple):
    """One tier of a lane."""

    lane: str
    tier: Tier = Tier.STANDARD


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one mesh."""

    mesh: str

    def lane(self, lane: str, tier: Tier = Tier.STANDARD) -> str:
        return f"{{{self.mesh}}}:lane:{lane}:{tier}"

    def lane_of(self, key: str) -> str:
        """The lane that a lane's key belongs to."""
        return key.removeprefix(f"{{{self.mesh}}}:lane:").rpartition(":")[0]

    def index(self, kind: str) -> str:
        return f"{{{self.mesh}}}:{kind}s"

    def record(self, kind: str, boot: int) -> str:
        return f"{{{self.mesh}}}:{kind}:{boot:016x}"

    def bucket(self, caller: str) -> str:
        return f"{{{self.mesh}}}:quota:{caller}"

    def slots(self, caller: str) -> str:
        return f"{{{self.mesh}}}:slots:{caller}"

    def answer(self, digest: bytes) -> str:
        return f"{self.mesh}:answer:{digest.hex()}"
