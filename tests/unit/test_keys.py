"""Keys: every name the mesh has in Redis, in one place."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from isochrone.keys import HEARTBEAT_S, INDEX_TTL_MS, RECORD_TTL_MS, Keys, Tier

meshes = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
lanes = st.from_regex(r"[A-Za-z0-9_.-]{1,20}@[a-z0-9-]{1,8}", fullmatch=True)


@given(meshes, lanes, st.sampled_from(Tier))
def test_a_lanes_key_tells_its_lane(mesh: str, lane: str, tier: Tier) -> None:
    """There and back, for any lane the configuration allows."""
    assert Keys(mesh).lane_of(Keys(mesh).lane(lane, tier)) == lane


@given(meshes, meshes, lanes)
def test_meshes_share_nothing(one: str, other: str, lane: str) -> None:
    """Two of different names have no key in common, and all keys of one have one hash tag, so one cluster slot."""

    def keys(mesh: str) -> set[str]:
        names = Keys(mesh)
        return {names.lane(lane, tier) for tier in Tier} | {
            *(names.index("node"), names.index("router"), names.record("node", 1), names.record("router", 1)),
            *(names.bucket("shop"), names.slots("shop")),
        }

    assert len(keys(one)) == len(Tier) + 6
    assert all(key.startswith(f"{{{one}}}:") for key in keys(one))
    assert one == other or not keys(one) & keys(other)


def test_tiers_come_in_the_order_they_are_claimed_from() -> None:
    """Gold before standard before batch."""
    assert list(Tier) == [Tier.GOLD, Tier.STANDARD, Tier.BATCH]


def test_a_record_outlives_a_missed_heartbeat_and_its_index_outlives_it() -> None:
    """One lost beat, even two, makes nobody disappear."""
    assert RECORD_TTL_MS > 3 * HEARTBEAT_S * 1e3
    assert INDEX_TTL_MS > RECORD_TTL_MS
