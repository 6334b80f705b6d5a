"""The admin port over TLS: who may read it, what others are told, and certificates that are replaced as it runs."""

from __future__ import annotations

import asyncio
import logging
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conftest import StartMesh
from harness import send
from harness.certificates import Certificates, certificates
from isochrone.cli.admin import fetch_status
from isochrone.cli.trust import context_of
from isochrone.config import ServerTls
from isochrone.errors import ConfigError, Unavailable
from isochrone.ports import a_free_one, nth
from isochrone_router.admin_tls import AdminTls

processes = pytest.mark.processes
NONE = context_of(None, None, None)


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    """A CA with certificates for the router, and an operator."""
    made = certificates(tmp_path / "ours")
    made.make("operator")
    return made


@pytest.fixture
def theirs(tmp_path: Path) -> Certificates:
    """The same of another CA."""
    made = certificates(tmp_path / "theirs")
    made.make("operator")
    return made


def trust(ca: Certificates, shown: Certificates | None = None) -> ssl.SSLContext:
    """Believes one CA, and shows a certificate of one."""
    pair = (None, None) if shown is None else (str(shown["operator.crt"]), str(shown["operator.key"]))
    context = context_of(str(ca["ca.crt"]), *pair)
    assert context is not None
    return context


async def read(url: str, context: ssl.SSLContext | None) -> str:
    """ "read", or what a command says."""
    try:
        await asyncio.to_thread(fetch_status, url, trust=context)
    except Unavailable as error:
        return error.message
    return "read"


@processes
async def test_who_may_read(mesh: StartMesh, ours: Certificates, theirs: Certificates) -> None:
    """Whoever shows a certificate of the CA that is believed there; others are told what they lack. The processes of
    a router reach each other all the same, and callers notice nothing."""
    router = {"processes": 2, "listen": a_free_one(), "admin": a_free_one()}
    router["admin_tls"] = ours.server_tls(clients="required")
    running = await mesh(nodes=1, router=router)
    assert (await send(running.client())).outcome == "answered"
    for index in range(2):
        address = nth(router["admin"], index)
        url = f"https://{address}"
        assert await read(url, trust(ours, ours)) == "read"
        assert "it hung up; does it want https://?" in await read(f"http://{address}", NONE)
        assert "does it want a certificate of a CA that is believed there" in await read(url, trust(ours))
        assert "does it want a certificate of a CA that is believed there" in await read(url, trust(ours, theirs))
        assert "its certificate isn't believed here" in await read(url, trust(theirs, ours))
        assert "--ca says whose are" in await read(url, NONE)
        console = await _json(f"{url}/console.json", trust(ours, ours))
        assert sorted(process["name"] for process in console["processes"]) == ["router-0", "router-1"]
        assert console["missing"] == []


async def _json(url: str, context: ssl.SSLContext) -> dict[str, Any]:
    async with aiohttp.ClientSession() as http, http.get(url, ssl=context) as got:
        return dict(await got.json())


@processes
async def test_new_certificates_are_taken_up_without_a_restart(
    mesh: StartMesh, ours: Certificates, theirs: Certificates
) -> None:
    """The router's own and the CA of those who may read."""
    running = await mesh(nodes=1, router={"admin_tls": ours.server_tls(clients="required")})
    url = running.stack.admin_url
    assert url.startswith("https://127.0.0.1:")
    assert await read(url, trust(ours, ours)) == "read"
    _give(theirs, to=ours, names=("router.crt", "router.key", "ca.crt"))
    assert await read(url, trust(theirs, theirs)) == "read"
    assert "does it want a certificate" in await read(url, trust(theirs, ours))
    assert "anew" in running.log("router")


def _give(source: Certificates, *, to: Certificates, names: tuple[str, ...]) -> None:
    for name in names:
        new = to[f"{name}.new"]
        new.write_bytes(source[name].read_bytes())
        new.replace(to[name])


@processes
async def test_commands_follow(mesh: StartMesh, tmp_path: Path, ours: Certificates) -> None:
    """By options or the environment; where the mesh's file says where its routers are, also that they speak TLS."""
    running = await mesh(nodes=1, router={"admin": a_free_one(), "admin_tls": ours.server_tls(clients="required")})
    answer = await send(running.client())
    assert answer.budget is not None
    options = ("--ca", ours["ca.crt"], "--certificate", ours["operator.crt"], "--key", ours["operator.key"])
    file = ("--config", tmp_path / "mesh.yaml")
    for command in (
        ("status", "--once", "--admin", running.stack.admin_url),
        ("misses", *file),
        ("explain", answer.budget.trace_id, *file),
    ):
        assert await _exit_code(*command, *options) == 0
        assert await _exit_code(*command) == 9


async def _exit_code(*arguments: object) -> int:
    command = (sys.executable, "-m", "isochrone.cli", *map(str, arguments))
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=60, check=False)
    return done.returncode


def test_half_of_a_pair_is_not_taken(
    ours: Certificates, theirs: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """What was there stays, and that is said once; the other half makes it whole."""
    tls = AdminTls(ServerTls.model_validate(ours.server_tls()))
    caplog.set_level(logging.INFO)
    _give(theirs, to=ours, names=("router.crt",))
    for _ in range(2):
        assert _shakes_hands(tls, believing=believing(ours))
    assert caplog.text.count("stays as it was") == 1
    _give(theirs, to=ours, names=("router.key",))
    assert not _shakes_hands(tls, believing=believing(ours))
    assert _shakes_hands(tls, believing=believing(theirs))
    ours["router.key"].write_bytes(b"")  # another trouble is told again, and so is the same one after a good pair
    assert _shakes_hands(tls, believing=believing(theirs))
    assert caplog.text.count("stays as it was") == 2
    assert repr(tls) == f"<AdminTls {ours['router.crt']}, clients' certificates none>"


def believing(folder: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(folder["ca.crt"]))


def _shakes_hands(tls: ssl.SSLContext, *, believing: ssl.SSLContext) -> bool:
    """Two ends that pass what they say to each other in memory."""
    ways = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls.wrap_bio(ways[0], ways[1], server_side=True)
    client = believing.wrap_bio(ways[1], ways[0], server_hostname="localhost")
    for end in (client, server, client, server):
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLCertVerificationError:
            return False
    return True


def test_files_that_cannot_be_used(tmp_path: Path, ours: Certificates) -> None:
    """Are a mistake in the configuration, with the key."""
    for settings in ({"key": str(tmp_path / "none.key")}, {"key": str(ours["mesh.key"])}):
        with pytest.raises(ConfigError, match=r"router\.admin_tls: .*router\.crt"):
            AdminTls(ServerTls.model_validate(ours.server_tls() | settings))
