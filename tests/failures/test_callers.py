"""Callers: who is let in, in which tier and how often, over several routers and while the file of them changes."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest

from conftest import StartMesh
from harness import Mesh, RedisServer, Status, until
from harness.callers import BODY, CALLERS, TOKENS, client_of, in_use, outcome, shares, write_callers
from harness.certificates import certificates
from isochrone.child import Child
from isochrone.client import Client, Leg, SyncClient
from isochrone.client.metadata import refusal
from isochrone.client.transport import Reply
from isochrone.credentials import hash_of, new_token
from isochrone.errors import InvalidRequest, Overloaded, PermissionDenied, Unauthenticated
from isochrone.stack import StackError
from isochrone.testing.models import ECHO, SLEEP
from isochrone.v1 import router_pb2

pytestmark = pytest.mark.processes

HELLO = router_pb2.ClientFrames(hello=router_pb2.SessionHello(version_min=1, version_max=1))


async def counted(router: Child, metric: str) -> dict[str, float]:
    """The samples of a metric, by its labels as Prometheus has them."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{router.admin}/metrics") as got:
        lines = (await got.text()).splitlines()
    found = [line.removeprefix(metric).rpartition(" ") for line in lines if line.startswith(f"{metric}{{")]
    return {labels: float(value) for labels, _, value in found}


async def test_without_callers_everybody_is_anonymous(mesh: StartMesh) -> None:
    """In every tier, whatever they show; and nothing is counted by caller."""
    running = await mesh(nodes=1)
    async with client_of(running.router, "shop") as client, client_of(running.router, None) as other:
        for each in (client, other):
            answer = await each.call(ECHO, BODY, tier="gold")
            assert answer.budget is not None
            assert answer.budget.report.caller == "anonymous"
    assert (await running.status())["callers"] == []
    assert await counted(running.router, "isochrone_caller_requests_total") == {}


SHOWN: list[tuple[tuple[str, ...], str]] = [
    ((), "NO_CREDENTIALS"),
    (("Bearer",), "MALFORMED_TOKEN"),
    (("Bearer ",), "MALFORMED_TOKEN"),
    (("Basic c2hvcDpzM2NyZXQ=",), "MALFORMED_TOKEN"),
    (("Bearer two words",), "MALFORMED_TOKEN"),
    (("Bearer *!?",), "MALFORMED_TOKEN"),
    (("Bearer " + "x" * 5000,), "MALFORMED_TOKEN"),
    ((f"Bearer {TOKENS['shop']}", f"Bearer {TOKENS['shop']}"), "MALFORMED_TOKEN"),
    ((f"Bearer {new_token()}",), "UNKNOWN_CALLER"),
    ((f"Bearer {hash_of(TOKENS['shop'])[7:]}",), "UNKNOWN_CALLER"),
    ((f"bearer {TOKENS['shop']}",), ""),
]


async def test_credentials_that_are_none(guarded: Mesh) -> None:
    """Each is refused with its reason, and a request with a budget, by call, in a fan-out, and where it opens a
    session."""
    page = router_pb2.FanOutRequest(legs=[router_pb2.Leg(name="a", route=ECHO)]).SerializeToString()
    async with grpc.aio.insecure_channel(guarded.router.address) as channel:
        for authorization, reason in SHOWN:
            metadata = tuple(("authorization", one) for one in authorization)
            for method, message in ((ECHO, BODY), ("isochrone.v1.Router/FanOut", page)):
                unary: Any = channel.unary_unary(f"/{method}", None, None)
                _check(await _reply(unary(message, metadata=metadata, timeout=10)), reason, is_request=True)
            stream: Any = channel.stream_stream("/isochrone.v1.Router/Session", None, None)
            opened = stream(metadata=metadata, timeout=10)
            if reason:
                _check(await _reply(opened), reason, is_request=False)
            else:
                await opened.write(HELLO.SerializeToString())
                assert await opened.read() is not grpc.aio.EOF  # type: ignore[attr-defined]
                opened.cancel()
    async with aiohttp.ClientSession() as http, http.get(f"http://{guarded.router.admin}/misses") as got:
        told = await got.json()
    assert (told["misses"], told["seen"]) == ([], 0), "whoever is turned away leaves no trace among the misses"
    assert told["turned_away"] == 2 * sum(bool(reason) for _, reason in SHOWN)


async def _reply(call: Any) -> Reply:
    """How an RPC has ended."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return Reply(b"")
    reply, _ = refusal(code, await call.details(), await call.trailing_metadata())
    return reply


def _check(reply: Reply, reason: str, *, is_request: bool) -> None:
    if not reason:
        assert reply.error is None
        return
    assert isinstance(reply.error, Unauthenticated)
    assert reply.error.reason == reason
    assert "iso_" not in reply.error.message
    assert not is_request or (reply.report is not None and reply.report.caller == "")


@pytest.fixture
async def guarded(mesh: StartMesh) -> Mesh:
    """A mesh with callers, without Redis."""
    return await mesh(nodes=1, instead={"callers": CALLERS}, options={"decode_ms": 200})


async def test_tiers_and_quotas_of_zero(guarded: Mesh) -> None:
    """A clear outcome each: by session and by call, for one request and for a leg. All of it is counted."""
    for sessions in (2, 0):
        async with (
            client_of(guarded.router, "shop", sessions=sessions) as shop,
            client_of(guarded.router, "batch", sessions=sessions) as batch,
            client_of(guarded.router, "none", sessions=sessions) as none,
        ):
            answer = await shop.call(ECHO, BODY)
            assert answer.budget is not None
            assert (answer.budget.report.caller, answer.budget.report.tier) == ("shop", "standard")
            assert await outcome(shop, tier="gold") == "OK"
            assert await outcome(shop, tier="batch") == "TIER_DENIED"
            with pytest.raises(PermissionDenied, match="batch may use batch, not gold") as denied:
                await batch.call(ECHO, BODY, tier="gold")
            assert denied.value.budget.report.caller == "batch"
            answer = await batch.call(ECHO, BODY)
            assert answer.budget is not None
            assert answer.budget.report.tier == "batch"
            with pytest.raises(Overloaded) as full:
                await none.call(ECHO, BODY)
            assert (full.value.reason, full.value.retry_after_s) == ("QUOTA", 60)
            page = await none.fan_out({"a": Leg(ECHO, BODY), "b": Leg(ECHO, BODY)})
            assert {leg.error.reason for leg in page.legs.values() if leg.error is not None} == {"QUOTA"}
            with pytest.raises(InvalidRequest, match="platinum"):
                await _call_in_tier(guarded.router, "platinum")
    refusals = await counted(guarded.router, "isochrone_caller_refusals_total")
    assert refusals['{caller="shop",reason="TIER_DENIED"}'] == 2
    assert refusals['{caller="none",reason="QUOTA"}'] == 6
    requests = await counted(guarded.router, "isochrone_caller_requests_total")
    assert requests['{caller="shop",tier="gold",outcome="OK"}'] == 2
    assert requests['{caller="none",tier="standard",outcome="RESOURCE_EXHAUSTED"}'] == 6
    status = {one["caller"]: one for one in (await guarded.status())["callers"]}
    assert status["none"]["quotas"] == {"rate": {"used": 0.0, "limit": 0.0}}
    assert status["none"]["refused"] == {"QUOTA": 6}


async def _call_in_tier(router: Child, tier: str) -> None:
    async with grpc.aio.insecure_channel(router.address) as channel:
        metadata = (("authorization", f"Bearer {TOKENS['shop']}"), ("isochrone-tier", tier))
        unary: Any = channel.unary_unary(f"/{ECHO}", None, None)
        (await _reply(unary(BODY, metadata=metadata, timeout=10))).opened()


async def test_requests_under_way_of_a_caller(guarded: Mesh) -> None:
    """Past its slots it is refused, however its requests end there is room again, and others notice nothing."""
    async with client_of(guarded.router, "few") as few, client_of(guarded.router, "ample") as ample:
        for _ in range(3):
            calls = [asyncio.create_task(few.call(SLEEP, BODY)) for _ in range(2)]
            await guarded.until(lambda status: in_use(status, "few") == 2)
            assert await outcome(few) == "QUOTA"
            assert await outcome(ample) == "OK"
            calls[0].cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            await guarded.until(lambda status: in_use(status, "few") == 0)
            assert await outcome(few) == "OK"


async def test_two_routers_share_a_quota(mesh: StartMesh, redis: RedisServer) -> None:
    """Together they admit the burst, and no more beyond it than docs/callers.md has; and a router that comes later has
    none left."""
    running = await mesh(redis=redis, nodes=1, instead={"callers": CALLERS})
    other = await running.add_router("router-b")
    for router in (running.router, other):
        await running.until(shares, router=router)
    async with client_of(running.router, "slow") as one, client_of(other, "slow") as two:
        outcomes = [await outcome(client) for _ in range(30) for client in (one, two)]
    assert set(outcomes) == {"OK", "QUOTA"}
    beyond = 2 * (1 + 10)  # a lease each, and a share of the burst before either has heard of the other
    assert 20 <= outcomes.count("OK") <= 20 + beyond

    async def settled() -> Status:
        async with redis.look() as look:
            return {"level": float((await look.get("{test}:quota:slow") or b"20 0").split()[0])}

    assert (await until(settled, lambda seen: seen["level"] < 1))["level"] >= -beyond
    third = await running.add_router("router-c")
    async with client_of(third, "slow") as late:
        outcomes = [await outcome(late)]
        await until(settled, lambda seen: seen["level"] < 1)
        outcomes += [await outcome(late) for _ in range(20)]
    assert outcomes.count("OK") <= 8, "its share of the burst, once, before it has heard"
    await running.at_rest()


async def test_each_router_keeps_to_its_share_while_redis_is_away(mesh: StartMesh, redis: RedisServer) -> None:
    """No request waits for that or fails for it; and when Redis is back the quota is shared again."""
    running = await mesh(redis=redis, nodes=1, instead={"callers": CALLERS})
    async with client_of(running.router, "ample") as ample, client_of(running.router, "none") as none:
        assert await outcome(ample) == "OK"
        await redis.kill()
        assert {await outcome(ample) for _ in range(50)} == {"OK"}
        await running.until(lambda status: not status["callers"][0]["shared"])
        assert {await outcome(ample) for _ in range(50)} == {"OK"}
        assert await outcome(none) == "QUOTA"
        await redis.start()
        await running.until(lambda status: status["callers"][0]["shared"])
        assert {await outcome(ample) for _ in range(50)} == {"OK"}


async def test_a_caller_is_known_by_its_certificate(mesh: StartMesh, tmp_path: Path) -> None:
    """By its common name or an alternative one, in calls and sessions; a token that comes with it goes before it."""
    made = certificates(tmp_path / "tls")
    for name, hosts in (("reports", ()), ("web", ("web.shop.internal",)), ("stranger", ())):
        made.make(name, *hosts)
    callers = CALLERS | {
        "by-common-name": {"certificates": ["reports"], "tiers": ["batch"]},
        "by-host": {"certificates": ["web.shop.internal"]},
    }
    running = await mesh(nodes=1, router={"tls": made.server_tls(clients="required")}, instead={"callers": callers})

    async def told(name: str, token: str | None = None) -> set[str]:
        found = set()
        for sessions in (1, 0):
            async with Client(running.router.address, tls=made.caller(name), token=token, sessions=sessions) as client:
                try:
                    budget = (await client.call(ECHO, BODY)).budget
                    found.add("nobody" if budget is None else budget.caller)
                except Unauthenticated as error:
                    found.add(error.reason)
        return found

    assert await told("reports") == {"by-common-name"}
    assert await told("web") == {"by-host"}
    assert await told("stranger") == {"UNKNOWN_CALLER"}
    assert await told("stranger", TOKENS["shop"]) == {"shop"}
    assert await told("web", new_token()) == {"UNKNOWN_CALLER"}


# The file that is read again.


async def test_a_token_is_taken_back_while_its_client_is_connected(mesh: StartMesh, tmp_path: Path) -> None:
    """Its next request is refused, on the same session too; other callers and a new token aren't touched. A broken
    file, or none, changes nothing."""
    path = tmp_path / "callers.yaml"
    write_callers(path, CALLERS)
    running = await mesh(nodes=1, router={"callers_file": str(path)})
    async with client_of(running.router, "shop") as shop, client_of(running.router, "batch") as batch:
        assert [await outcome(shop), await outcome(batch)] == ["OK", "OK"]
        sessions = (await running.status())["router"]["sessions"]
        path.write_text("callers: [what?")
        running.router.send(signal.SIGHUP)
        await _logged(running, "callers stay as they are")
        assert await outcome(shop) == "OK"
        renewed = CALLERS | {"shop": CALLERS["shop"] | {"tokens": [hash_of(TOKENS["none"])]}}
        del renewed["none"]
        write_callers(path, renewed)
        running.router.send(signal.SIGHUP)
        await _logged(running, "callers are now ample, batch, few, shop, slow")
        assert await outcome(shop) == "REVOKED"
        assert await outcome(batch) == "OK"
        assert (await running.status())["router"]["sessions"] == sessions
        with SyncClient(running.router.address, token=TOKENS["none"]) as changed:
            answer = await asyncio.to_thread(changed.call, ECHO, BODY)
        assert answer.budget is not None
        assert answer.budget.report.caller == "shop"
        path.unlink()
        await _logged(running, "can't be read")
        assert await outcome(batch) == "OK"
        write_callers(path, {})
        await _logged(running, "callers are now none")
        assert await outcome(batch) == "REVOKED"


async def _logged(running: Mesh, words: str) -> None:
    async def look() -> Status:
        return {"log": running.log("router")}

    await until(look, lambda seen: words in seen["log"])


async def test_anonymous_callers_have_limits_too(mesh: StartMesh) -> None:
    """Where that name is configured, whoever shows nothing is admitted with them; whoever shows nonsense isn't."""
    callers = CALLERS | {"anonymous": {"tiers": ["batch"], "rate_per_s": 0.01, "burst": 2}}
    running = await mesh(nodes=1, instead={"callers": callers})
    async with client_of(running.router, None) as client:
        assert await outcome(client, tier="gold") == "TIER_DENIED"
        assert [await outcome(client) for _ in range(4)] == ["OK", "OK", "QUOTA", "QUOTA"]
        status = {one["caller"]: one for one in (await running.status())["callers"]}
        assert status["anonymous"]["refused"] == {"TIER_DENIED": 1, "QUOTA": 2}
    async with Client(running.router.address, token=new_token()) as client:
        assert await outcome(client) == "UNKNOWN_CALLER"


async def test_a_file_of_callers_that_is_not_there(mesh: StartMesh, tmp_path: Path) -> None:
    """The router doesn't start without: it would let nobody in, or everybody."""
    with pytest.raises(StackError, match=r"callers\.yaml: can't be read"):
        await mesh(nodes=1, router={"callers_file": str(tmp_path / "callers.yaml")})
