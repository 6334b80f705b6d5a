"""Ranking through the client, asyncio and blocking."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isochrone.client import Client, Reply, Request, SyncClient, User
from isochrone.errors import Internal, InvalidRequest
from isochrone.v1 import budget_pb2, recsys_pb2

USER = User(dense=[0.5, -1.0], categories=[3], recent_items=[7, 8])


async def _ranker(payload: bytes, context: Any) -> bytes:
    """Answers the candidates backwards, and that the variant asked for did it."""
    request = recsys_pb2.RankRequest.FromString(payload)
    assert list(request.user.dense) == [0.5, -1.0]
    assert list(request.user.recent_items) == [7, 8]
    items = list(request.item_ids)[::-1][: request.top_k or None]
    variant = dict(context.invocation_metadata()).get("isochrone-variant", "any")
    return recsys_pb2.RankResponse(item_ids=items, scores=[0.5] * len(items), variant=variant).SerializeToString()


async def test_a_ranking_comes_back_in_order_with_scores(serve: Any, connect: Any) -> None:
    """Items, scores and the variant that scored them arrive as plain Python values."""
    client = connect(await serve(_ranker))
    ranking = await client.rank(USER, [1, 2, 3])
    assert ranking.item_ids == (3, 2, 1)
    assert ranking.scores == (0.5, 0.5, 0.5)
    assert ranking.variant == "any"
    assert ranking.budget is None


async def test_top_k_and_variant_travel_with_the_request(serve: Any, connect: Any) -> None:
    """`top_k` is part of the request, the variant is metadata for the router."""
    client = connect(await serve(_ranker))
    ranking = await client.rank(USER, [1, 2, 3], top_k=1, variant="ranker.int8")
    assert (ranking.item_ids, ranking.variant) == ((3,), "ranker.int8")


async def test_the_protobuf_user_and_numpy_ids_do_as_well(serve: Any, connect: Any) -> None:
    """Callers who hold messages and arrays need not turn them into lists."""
    client = connect(await serve(_ranker))
    user = recsys_pb2.User(dense=[0.5, -1.0], categories=[3], recent_items=[7, 8])
    ranking = await client.rank(user, np.array([1, 2, 3], dtype=np.uint32))
    assert ranking.item_ids == (3, 2, 1)


async def test_call_passes_bytes_through(serve: Any, connect: Any) -> None:
    """A request that is already encoded is neither parsed nor changed on its way."""

    async def behaviour(payload: bytes, _context: Any) -> bytes:
        return payload + b"!"

    client = connect(await serve(behaviour))
    answer = await client.call("any.Service/Method", b"\xff\x00 not protobuf")
    assert answer.payload == b"\xff\x00 not protobuf!"


async def test_the_budget_says_where_the_time_went(serve: Any, connect: Any) -> None:
    """A report in the trailers becomes milliseconds by stage, in the order of the way."""
    report = budget_pb2.BudgetReport(
        objective_us=15_000,
        deadline_us=100_000,
        total_us=4_200,
        lane="ranker.fp32@cpu",
        node="recsys-a",
        attempts=2,
        batch=budget_pb2.BatchInfo(jobs=3, units=192, closed_by="idle"),
    )
    report.stage_us.extend((200, 1500, 0, 2500))

    async def behaviour(payload: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("isochrone-budget-bin", report.SerializeToString()),))
        return payload

    budget = (await connect(await serve(behaviour)).call("a.B/C", b"")).budget
    assert (budget.objective_ms, budget.deadline_ms, budget.total_ms) == (15.0, 100.0, 4.2)
    assert budget.stages == {"admit": 0.2, "queue": 1.5, "batch_wait": 0.0, "compute": 2.5}
    assert list(budget.stages) == ["admit", "queue", "batch_wait", "compute"]
    assert (budget.lane, budget.node, budget.attempts) == ("ranker.fp32@cpu", "recsys-a", 2)
    assert (budget.batch_jobs, budget.batch_units, budget.closed_by) == (3, 192, "idle")
    assert not budget.missed
    assert budget.report == report


async def test_a_report_that_cannot_be_read_spoils_no_answer(serve: Any, connect: Any) -> None:
    """Garbage in the report's place is as good as none; a stage of a newer router keeps its number."""
    newer = budget_pb2.BudgetReport(stage_us=[0] * 98 + [1000])
    sent = iter([b"\xff\xff\xff", newer.SerializeToString()])

    async def behaviour(payload: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("isochrone-budget-bin", next(sent)),))
        return payload

    client = connect(await serve(behaviour))
    assert (await client.call("a.B/C", b"x")).budget is None
    assert (await client.call("a.B/C", b"x")).budget.stages["stage_99"] == 1.0


async def test_an_answer_that_is_no_ranking_is_an_internal_error(serve: Any, connect: Any) -> None:
    """The caller sees one family of errors, whatever a server sends."""

    async def behaviour(_payload: bytes, _context: Any) -> bytes:
        return b"\xff\xff\xff"

    with pytest.raises(Internal, match="not a RankResponse"):
        await connect(await serve(behaviour)).rank(USER, [1])


@pytest.mark.parametrize(
    ("user", "item_ids", "top_k", "field"),
    [
        (USER, [-1], 0, "item_ids"),
        (USER, [2**32], 0, "item_ids"),
        (USER, ["shoe"], 0, "item_ids"),
        (USER, [1], -1, "top_k"),
        (User(dense=["tall"], categories=[]), [1], 0, "user.dense"),  # type: ignore[list-item]
        (User(dense=[], categories=[1.5]), [1], 0, "user.categories"),  # type: ignore[list-item]
        (User(dense=[], categories=[], recent_items=[-2]), [1], 0, "user.recent_items"),
    ],
)
async def test_what_does_not_fit_the_wire_names_its_field(
    connect: Any, user: User, item_ids: list[int], top_k: int, field: str
) -> None:
    """Values that protobuf can't hold get the error that the server would give, without a round trip."""
    with pytest.raises(InvalidRequest) as caught:
        await connect("127.0.0.1:1").rank(user, item_ids, top_k=top_k)
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
async def test_a_timeout_is_over_zero_and_finite(connect: Any, timeout_s: float) -> None:
    """A timeout that is no time at all is a mistake in the calling code."""
    with pytest.raises(ValueError, match="timeout_s should be over 0"):
        await connect("127.0.0.1:1").call("a.B/C", b"", timeout_s=timeout_s)


async def test_other_arguments_are_checked_before_anything_is_sent(connect: Any) -> None:
    """Route, variant, type and size are refused with what would be right."""
    client = connect("127.0.0.1:1", max_message_bytes=10)
    with pytest.raises(ValueError, match=r"route should look like 'isochrone\.v1\.Recsys/Rank'"):
        await client.call("/isochrone.v1.Recsys/Rank", b"")
    with pytest.raises(ValueError, match=r"variant should look like 'ranker\.fp32'"):
        await client.call("a.B/C", b"", variant="a b")
    with pytest.raises(TypeError, match="should be bytes, not str"):
        await client.call("a.B/C", "text")
    with pytest.raises(InvalidRequest, match="is 11 bytes; at most 10"):
        await client.call("a.B/C", b"x" * 11)


async def test_a_client_says_what_it_is_and_can_be_closed_twice(serve: Any) -> None:
    """Its repr tells target and state; once closed it refuses."""
    target = await serve(_ranker)
    async with Client(target) as client:
        assert repr(client) == f"Client(<sessions to {target}, 0 of 2 up>)"
        await client.rank(USER, [1])
    await client.close()
    assert repr(client) == f"Client(<sessions to {target}, closed>)"
    with pytest.raises(RuntimeError, match="closed"):
        await client.rank(USER, [1])

    with SyncClient(target) as blocking:
        assert repr(blocking) == f"SyncClient(<unary to {target}, open>)"
    blocking.close()
    assert repr(blocking) == f"SyncClient(<unary to {target}, closed>)"
    with pytest.raises(RuntimeError, match="closed"):
        blocking.rank(USER, [1])


async def test_another_transport_takes_the_place_of_unary_calls() -> None:
    """All that a way of travelling has to do is to turn requests into replies."""

    class Loopback:
        async def exchange(self, request: Request) -> Reply:
            return Reply(request.payload + f" {request.timeout_s:g} {request.variant}".encode())

        async def close(self, *, grace_s: float) -> None:
            pass

    async with Client(transport=Loopback(), timeout_s=3) as client:
        assert (await client.call("a.B/C", b"hello", variant="v")).payload == b"hello 3 v"
