"""A wrong request is told which field; one that breaks the model gets an id for the log; nobody else notices."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import StartMesh
from harness import RedisServer, goes_through_redis, send
from isochrone.client import Client
from isochrone.errors import FieldViolation, Internal, InvalidRequest, UnknownRoute, UnknownVariant
from isochrone.testing.models import SLEEP
from isochrone.testing.v1 import toy_pb2
from isochrone.v1.recsys_pb2 import RankRequest, RankResponse

RANK = "isochrone.v1.Recsys/Rank"

pytestmark = pytest.mark.processes


async def _raised(client: Client, payload: bytes, *, route: str = SLEEP, variant: str | None = None) -> Exception:
    try:
        await client.call(route, payload, variant=variant)
    except Exception as error:
        return error
    raise AssertionError("it was answered")


async def test_wrong_requests_name_the_field_and_harm_nobody(mesh: StartMesh, redis: RedisServer) -> None:
    """Bytes that are no protobuf, and more units than the model takes, are INVALID_ARGUMENT with the field."""
    running = await mesh(redis=redis, nodes=1)
    await running.until(goes_through_redis)
    client = running.client()
    too_heavy = toy_pb2.ToyMessage(body=b"x", units=10_000).SerializeToString()
    for _ in range(5):
        mates = [asyncio.create_task(send(client)) for _ in range(6)]
        garbage, heavy = await asyncio.gather(_raised(client, b"\xff\xff\xff"), _raised(client, too_heavy))
        assert {mate.outcome for mate in await asyncio.gather(*mates)} == {"answered"}
        assert isinstance(garbage, InvalidRequest)
        assert isinstance(heavy, InvalidRequest)
        assert garbage.violations == (FieldViolation("request", "is not a ToyMessage"),)
        assert heavy.violations == (FieldViolation("request", "has 10000 units; at most 1000 are taken at once"),)
        assert not garbage.may_retry
    await running.at_rest()


async def test_unknown_route_and_variant(mesh: StartMesh) -> None:
    """UNIMPLEMENTED for a method nobody serves, NOT_FOUND for a variant, which says those there are."""
    running = await mesh(nodes=1)
    client = running.client()
    assert isinstance(await _raised(client, b"", route="isochrone.v1.Recsys/Rank"), UnknownRoute)
    unknown = await _raised(client, b"", variant="sleep.int8")
    assert isinstance(unknown, UnknownVariant)
    assert "there is sleep" in str(unknown)
    assert (await client.call(SLEEP, b"", variant="sleep")).payload == b""
    node = Client(running.nodes[0].api)  # a node speaks the same API
    assert isinstance(await _raised(node, b"", route="isochrone.v1.Recsys/Rank"), UnknownRoute)
    assert isinstance(await _raised(node, b"", variant="sleep.int8"), UnknownVariant)
    await node.close()


async def test_forward_fails_because_of_one_member(mesh: StartMesh, redis: RedisServer) -> None:
    """The batch is split until the culprit stands alone: it alone gets INTERNAL, and an id to ask about."""
    running = await mesh(redis=redis, nodes=1, options={"sleep_ms": 20})
    await running.until(goes_through_redis)
    client = running.client()
    for trouble, told in (("raise", "a toy was told to raise"), ("short", "forward answered 0 items for 1")):
        sent = await asyncio.gather(*(send(client, trouble=trouble if n == 11 else "") for n in range(24)))
        culprit = sent.pop(11)
        assert {mate.outcome for mate in sent} == {"answered"}
        assert isinstance(culprit.error, Internal)
        assert re.fullmatch(r"internal error, incident [0-9a-f]{16}", str(culprit.error))
        assert culprit.error.incident in running.log("toy-0")
        assert told in running.log("toy-0")
        assert any(culprit.body in forward.bodies and len(forward.bodies) > 1 for forward in running.journal.forwards())
    await running.at_rest()


async def test_requests_past_the_size_limit(mesh: StartMesh) -> None:
    """One byte too many is INVALID_ARGUMENT and says how many are taken."""
    running = await mesh(nodes=1, router={"limits": {"request_bytes": 50_000}})
    client = running.client()
    assert isinstance(await _raised(client, bytes(50_001)), InvalidRequest)
    assert (await send(client, size=49_900)).outcome == "answered"
    await running.at_rest()


Change = Callable[[RankRequest], object]
WRONG: list[tuple[str, Change, str]] = [
    ("too few features", lambda r: r.user.dense.pop(), "user.dense"),
    ("NaN", lambda r: r.user.dense.__setitem__(3, math.nan), "user.dense[3]"),
    ("infinity", lambda r: r.user.dense.__setitem__(0, -math.inf), "user.dense[0]"),
    ("too many categories", lambda r: r.user.categories.append(0), "user.categories"),
    ("category out of range", lambda r: r.user.categories.__setitem__(1, 10**6), "user.categories[1]"),
    ("unknown candidate", lambda r: r.item_ids.__setitem__(2, 4_000_000_000), "item_ids[2]"),
    ("unknown recent item", lambda r: r.user.recent_items.append(4_000_000_000), "user.recent_items[3]"),
    ("no candidates", lambda r: r.ClearField("item_ids"), "item_ids"),
    ("10,000 candidates", lambda r: r.item_ids.extend([r.item_ids[0]] * (10_000 - len(r.item_ids))), "item_ids"),
]


async def test_wrong_rank_requests_name_the_field_and_harm_nobody(
    mesh: StartMesh, redis: RedisServer, tiny_ranker: Path
) -> None:
    """Each kind of mistake, sent among requests that are right: those are ranked as they would be alone."""
    catalogue = pytest.importorskip("isochrone_recsys.catalogue").Catalogue.load(tiny_ranker)
    instead = {
        "models": str(tiny_ranker.parent),
        "routes": {RANK: {"objective_ms": 500, "deadline_ms": 2000, "lanes": ["ranker.fp32@cpu"]}},
        "nodes": {"recsys": {"service": "recsys"}},
    }
    running = await mesh(redis=redis, instead=instead)
    await running.until(lambda status: goes_through_redis(status, "ranker.fp32@cpu"))
    client = running.client()
    ids = catalogue.ids.tolist()

    def right() -> RankRequest:
        user = {"dense": [0.5] * 8, "categories": [11, 2, 15, 6], "recent_items": ids[10:13]}
        return RankRequest(user=user, item_ids=ids[100:500:10])

    async def ranked() -> RankResponse:
        return RankResponse.FromString((await client.call(RANK, right().SerializeToString())).payload)

    alone = await ranked()
    assert sorted(alone.item_ids) == sorted(right().item_ids)
    for what, change, field in WRONG:
        request = right()
        change(request)
        error, *mates = await asyncio.gather(
            _raised(client, request.SerializeToString(), route=RANK), *(ranked() for _ in range(6))
        )
        assert isinstance(error, InvalidRequest), what
        assert [violation.field for violation in error.violations] == [field], what
        for mate in mates:
            assert mate.scores == pytest.approx(list(alone.scores), abs=1e-5)
    garbage = await _raised(client, b"\xff\xff\xff", route=RANK)
    assert isinstance(garbage, InvalidRequest)
    assert [violation.field for violation in garbage.violations] == ["request"]
    await running.at_rest()
