"""TLS and mTLS between callers, routers and nodes: who has no right certificate is told why, and mended without a
restart."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

from conftest import StartMesh
from harness import MESH, Mesh, Status, send
from harness.certificates import Certificates, certificates
from isochrone.child import StackError
from isochrone.client import Client, SyncClient, Tls
from isochrone.errors import Unavailable
from isochrone.healthcheck import health
from isochrone.testing.models import SLEEP
from isochrone.testing.v1 import toy_pb2

pytestmark = pytest.mark.processes

TCP = {"listen": "127.0.0.1:0", "api": "127.0.0.1:0"}
PAYLOAD = toy_pb2.ToyMessage(body=b"x").SerializeToString()


@pytest.fixture
def ours(tmp_path: Path) -> Certificates:
    """A CA with certificates for mesh, router, and a caller named shop."""
    made = certificates(tmp_path / "ours")
    made.make("shop")
    return made


@pytest.fixture
def theirs(tmp_path: Path) -> Certificates:
    """The same of another CA."""
    made = certificates(tmp_path / "theirs")
    made.make("shop")
    return made


async def ask(running: Mesh, tls: Tls | bool, *, sessions: int = 1, at: str | None = None) -> str:
    """ "answered", or what the caller was told."""
    async with Client(at or running.router.address, tls=tls, sessions=sessions) as client:
        sent = await send(client)
    return str(sent.error or sent.outcome)


def a_node(status: Status) -> Status:
    return dict(status["nodes"][0])


async def test_callers_over_tls(mesh: StartMesh, ours: Certificates, theirs: Certificates) -> None:
    """Sessions, single calls, threads and health checks; a caller that believes another CA, or doesn't speak TLS, is
    told which it is."""
    running = await mesh(nodes=1, router={"tls": ours.server_tls()})
    address = running.router.address
    for sessions in (1, 0):
        assert await ask(running, ours.caller(), sessions=sessions) == "answered"
    told = await ask(running, theirs.caller())
    assert told.startswith(f"{address}: its certificate is not of the CA that is believed here")
    assert "does it want TLS?" in await ask(running, False)
    assert "doesn't name the host that was dialled" in await ask(running, ours.caller(server="elsewhere.test"))
    with SyncClient(address, tls=ours.caller()) as client:
        answer = await asyncio.to_thread(client.call, SLEEP, PAYLOAD)
        assert toy_pb2.ToyMessage.FromString(answer.payload).body == b"x"
    with SyncClient(address, tls=theirs.caller()) as client, pytest.raises(Unavailable, match="not of the CA"):
        await asyncio.to_thread(client.call, SLEEP, PAYLOAD)


async def test_callers_that_must_show_a_certificate(mesh: StartMesh, ours: Certificates, theirs: Certificates) -> None:
    """None, an expired one, one of another CA: each is refused, and told which; nothing of it reaches the mesh."""
    ours.expired("late")
    running = await mesh(nodes=1, router={"tls": ours.server_tls(clients="required")})
    foreign = Tls(ca=ours["ca.crt"], certificate=theirs["shop.crt"], key=theirs["shop.key"])
    for sessions in (1, 0):
        assert await ask(running, ours.caller("shop"), sessions=sessions) == "answered"
        assert "does it want a certificate? None was shown" in await ask(running, ours.caller(), sessions=sessions)
        told = await ask(running, ours.caller("late"), sessions=sessions)
        assert f"{ours['late.crt']} was shown: it expired on " in told
        assert "it is not of the CA that is believed there" in await ask(running, foreign, sessions=sessions)
    (sleep,) = (route for route in (await running.status())["routes"] if route["route"] == SLEEP)
    assert sleep["requests"] == 2


async def test_health_and_commands_over_tls(
    mesh: StartMesh, ours: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment says whom to believe and what to show, as in a container."""
    running = await mesh(nodes=1, router={"tls": ours.server_tls(clients="required")})
    address = running.router.address
    assert await asyncio.to_thread(health, address) == "UNAVAILABLE"
    command = (sys.executable, "-m", "isochrone.cli", "call", "--target", address)

    def call(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run((*command, *more), capture_output=True, text=True, timeout=60, check=False)

    failed = await asyncio.to_thread(call)
    assert (failed.returncode, "does it want TLS?" in failed.stderr) == (9, True)
    half = await asyncio.to_thread(call, "--ca", str(ours["ca.crt"]))
    assert (half.returncode, "does it want a certificate?" in half.stderr) == (9, True)
    wrong = await asyncio.to_thread(call, "--ca", str(ours["none.crt"]))
    assert (wrong.returncode, "No such file" in wrong.stderr) == (2, True)
    for name, value in {"CA": "ca.crt", "CERTIFICATE": "shop.crt", "KEY": "shop.key"}.items():
        monkeypatch.setenv(f"ISOCHRONE_{name}", str(ours[value]))
    assert await asyncio.to_thread(health, address) == "SERVING"
    answered = await asyncio.to_thread(call, "Toy/Sleep", "--json", '{"body": "eA=="}')
    assert (answered.returncode, '"body": "eA=="' in answered.stdout) == (0, True), answered.stderr


async def test_a_router_takes_its_new_certificate_up_without_a_restart(
    mesh: StartMesh, ours: Certificates, theirs: Certificates
) -> None:
    """Connections that there are live on; new ones get it, and a client's own is read anew as well."""
    running = await mesh(nodes=1, router={"tls": ours.server_tls(clients="required")})
    async with Client(running.router.address, tls=ours.caller("shop")) as early:
        assert (await send(early)).outcome == "answered"
        for name in ("router.crt", "router.key", "shop.crt", "shop.key"):
            (ours.folder / f"{name}.new").write_bytes(theirs[name].read_bytes())
            (ours.folder / f"{name}.new").replace(ours[name])
        theirs.give_ca(ours)
        assert (await send(early)).outcome == "answered"
        assert await ask(running, theirs.caller("shop")) == "answered"
    assert "anew" in running.log("router")


async def test_links_are_mutual(mesh: StartMesh, ours: Certificates, theirs: Certificates) -> None:
    """And so is a node's own API, which has the same certificate, for callers of the same CA."""
    running = await mesh(nodes=1, node=TCP, instead={"mesh_tls": ours.mesh_tls()})
    assert await ask(running, False) == "answered"
    assert a_node(await running.status())["state"] == "linked"
    api = running.nodes[0].api
    assert await ask(running, ours.caller("shop", server=MESH), at=api) == "answered"
    assert "does it want a certificate?" in await ask(running, ours.caller(server=MESH), at=api)


async def test_a_node_takes_its_new_certificate_up_without_a_restart(
    mesh: StartMesh, tmp_path: Path, ours: Certificates, theirs: Certificates
) -> None:
    """For routers that link it from then on, and for its own API; the link that there was lives on with the old one."""
    running = await mesh(nodes=1, node=TCP, instead={"mesh_tls": ours.mesh_tls()})
    api = running.nodes[0].api
    assert await ask(running, ours.caller("shop", server=MESH), at=api) == "answered"
    pid, boot = running.nodes[0].pid, a_node(await running.status())["boot"]
    path = tmp_path / "mesh.yaml"
    path.write_text(path.read_text().replace(str(ours.folder), str(theirs.folder)))
    for name in ("mesh.crt", "mesh.key"):
        (ours.folder / f"{name}.new").write_bytes(theirs[name].read_bytes())
        (ours.folder / f"{name}.new").replace(ours[name])
    theirs.give_ca(ours)
    other = await running.add_router("router-b")
    status = await running.until(lambda status: a_node(status)["state"] == "linked", router=other)
    assert a_node(status)["boot"] == boot
    assert await ask(running, False, at=other.address) == "answered"
    assert await ask(running, theirs.caller("shop", server=MESH), at=api) == "answered"
    assert a_node(await running.status())["state"] == "linked"
    assert await ask(running, False) == "answered"
    assert running.nodes[0].pid == pid
    assert "anew" in running.log("toy-0")


async def test_a_router_of_another_ca_is_refused_until_its_certificate_is_replaced(
    mesh: StartMesh, tmp_path: Path, ours: Certificates, theirs: Certificates
) -> None:
    """Both ends say why, once, in log and status; the link comes up by itself when the files are right."""
    running = await mesh(nodes=1, node=TCP, instead={"mesh_tls": ours.mesh_tls()})
    path = tmp_path / "mesh.yaml"
    path.write_text(path.read_text().replace(str(ours.folder), str(theirs.folder)))
    other = await running.add_router("router-b")
    status = await running.until(lambda status: a_node(status)["state"] == "refused", router=other)
    assert a_node(status)["reason"] == "its certificate is of another CA"
    ours.give_ca(to=theirs)  # now it believes the node, and the node not it
    reason = "it says that our certificate is of another CA"
    await running.until(lambda status: a_node(status)["reason"] == reason, router=other)
    await running.until(lambda status: "refused a link from 127.0.0.1" in running.log("toy-0"))
    for name in ("mesh.key", "mesh.crt"):
        (theirs.folder / f"{name}.new").write_bytes(ours[name].read_bytes())
        (theirs.folder / f"{name}.new").replace(theirs[name])
    status = await running.until(lambda status: a_node(status)["state"] == "linked", router=other)
    assert a_node(status)["reason"] == ""
    assert await ask(running, False, at=other.address) == "answered"
    log = running.log("router-b")
    for said in ("its certificate is of another CA", reason):
        assert log.count(f"{a_node(status)['address']}: {said}\n") == 1
    node_log = running.log("toy-0")
    assert node_log.count("refused a link from 127.0.0.1: its certificate is of another CA") == 1


async def test_an_expired_certificate_is_refused_at_start(mesh: StartMesh, tmp_path: Path, ours: Certificates) -> None:
    """With the line of the file, and the date; and exit code 2."""
    ours.expired("mesh", MESH)
    with pytest.raises(
        StackError, match=r"mesh_tls\.certificate: .*mesh\.crt: expired on \d{4}-\d\d-\d\d.*10 days ago"
    ):
        await mesh(nodes=1, node=TCP, instead={"mesh_tls": ours.mesh_tls()})
    command = (sys.executable, "-m", "isochrone_router", "--config", str(tmp_path / "mesh.yaml"))
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "expired on" in done.stderr) == (2, True)


async def test_one_that_soon_expires_is_warned_of(mesh: StartMesh, ours: Certificates) -> None:
    """In the log of every process that shows it."""
    ours.make("mesh", MESH, days=3)
    running = await mesh(nodes=1, node=TCP, instead={"mesh_tls": ours.mesh_tls()})
    for name in ("router", "toy-0"):
        assert "mesh_tls.certificate" in running.log(name)
        assert "in 2 days" in running.log(name)


async def test_a_servers_methods_know_who_calls(ours: Certificates) -> None:
    """Of the certificate that was shown: common name and other names, for whoever decides by them."""
    from isochrone.config import ServerTls
    from isochrone.rpc import bind
    from isochrone.server_tls import server_credentials

    ours.make("shop", "shop.internal")
    seen: list[Any] = []

    async def method(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        seen.append(context.auth_context())
        return request

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(method)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.Service", {"Ask": handler}),))
    tls = ServerTls.model_validate(ours.server_tls(clients="required"))
    address = bind(server, "127.0.0.1:0", server_credentials(tls, "127.0.0.1:0", key="router.tls"))
    await server.start()
    async with Client(address, tls=ours.caller("shop"), sessions=0) as client:
        assert (await client.call("a.Service/Ask", b"hello")).payload == b"hello"
    await server.stop(0)
    (context,) = seen
    assert context["x509_common_name"] == [b"shop"]
    assert context["x509_subject_alternative_name"] == [b"shop.internal"]
