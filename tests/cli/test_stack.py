"""A stack starts what its file describes, in order, and ends all of it: also when a start fails or is cancelled."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from isochrone import stack as stack_module
from isochrone.config import load_config
from isochrone.embedded import NoRedisServer
from isochrone.stack import Stack, StackError


def _stack(mesh_file: Path, **settings: Any) -> Stack:
    return Stack(load_config(mesh_file), mesh_file, **settings)


def _noted(record: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((record / f"{name}.json").read_text()))


def _given(noted: dict[str, Any], *options: str) -> list[str]:
    """The values that a child was given for some options, in order."""
    arguments = noted["arguments"]
    return [value for name, value in pairwise(arguments) if name in options]


def _rewrite(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(old, new))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


async def test_everything_starts_in_order_and_drains_in_reverse(fakes: Path, mesh_file: Path) -> None:
    """Redis, then the nodes, then the router with every node's address; the router leaves before the nodes."""
    said: list[str] = []
    async with _stack(mesh_file, say=said.append) as stack:
        assert [child.name for child in stack.children] == ["redis", "alpha-0", "alpha-1", "router"]
        assert all(child.running and psutil.pid_exists(child.pid or 0) for child in stack.children)
        assert stack.target == stack.router.address
        assert stack.admin_url == "http://127.0.0.1:1"
        for index, node in enumerate(stack.nodes):
            noted = _noted(fakes, f"alpha-{index}")
            assert _given(noted, "--config", "--node") == [str(mesh_file), "alpha"]
            assert _given(noted, "--index", "--listen") == [str(index), node.address]
            assert node.address.startswith("unix:")
        router = _noted(fakes, "router-0")
        assert _given(router, "--node-address") == [node.address for node in stack.nodes]
        assert router["redis"] == stack.redis_url
        assert stack.redis_url.startswith("unix://")
        ready = [line.split()[0] for line in said]
        assert (ready[0], set(ready[1:3]), ready[3]) == ("redis", {"alpha-0", "alpha-1"}, "router")
    drained = {name: float((fakes / f"{name}.drained").read_text()) for name in ("router-0", "alpha-0", "alpha-1")}
    assert drained["router-0"] < min(drained["alpha-0"], drained["alpha-1"])


async def test_a_child_that_dies_at_start_is_quoted(
    fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has its exit code and its last lines; what had started already is ended (the fixture looks)."""
    monkeypatch.setenv("FAKE_TROUBLE", "die alpha-1")
    with pytest.raises(StackError) as caught:
        await _stack(mesh_file).start()
    assert str(caught.value) == (
        "alpha-1 ended before it was ready, exit code 3\n  | alpha-1 says hello\n  | the model file is gone"
    )


async def test_last_words_are_known_when_lines_go_to_a_function(
    fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the output on a terminal, where each line comes with the child's name."""
    monkeypatch.setenv("FAKE_TROUBLE", "die router-0")
    lines: list[tuple[str, str]] = []
    with pytest.raises(StackError, match="the model file is gone"):
        await _stack(mesh_file, log=lambda name, line: lines.append((name, line))).start()
    assert ("alpha-0", "alpha-0 says hello") in lines
    assert ("router", "the model file is gone") in lines


@pytest.mark.parametrize(
    ("trouble", "words"),
    [("silent", r"was not ready within 0\.5 s"), ("garbage", r"announced b'ready!\\n'")],
)
async def test_a_child_that_never_gets_ready_is_ended(
    fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch, trouble: str, words: str
) -> None:
    """One that says nothing in time, or nonsense, fails the start."""
    monkeypatch.setenv("FAKE_TROUBLE", trouble)
    with pytest.raises(StackError, match=words):
        await _stack(mesh_file, ready_s=0.5 if trouble == "silent" else 10).start()


async def test_a_start_cancelled_anywhere_leaves_nothing(fakes: Path, mesh_file: Path) -> None:
    """No process, no socket, no folder, whichever child was just starting (the fixture looks)."""
    for delay_s in (0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.2, 0.25):
        stack = _stack(mesh_file)
        starting = asyncio.ensure_future(stack.start())
        await asyncio.sleep(delay_s)
        if not starting.cancel():  # a quick machine: it is up already
            await stack.stop(0)
            return
        with pytest.raises(asyncio.CancelledError):
            await starting


async def test_a_crash_is_reported_and_a_restart_takes_the_same_place(fakes: Path, mesh_file: Path) -> None:
    """`next_exit` says who ended and how; the restarted one has the address it had, and a new pid."""
    async with _stack(mesh_file) as stack:
        node = stack.child("alpha-0")
        pid, address = node.pid, node.address
        stack.kill("alpha-0", signal.SIGKILL)
        exited = await asyncio.wait_for(stack.next_exit(), 5)
        assert str(exited) == "alpha-0 ended, killed by SIGKILL"
        assert await stack.restart("alpha-0") is node
        assert node.running
        assert (node.pid != pid, node.address) == (True, address)
        with socket.socket(socket.AF_UNIX) as dialled:
            dialled.connect(address.removeprefix("unix:"))


async def test_a_wanted_end_is_not_an_exit(fakes: Path, mesh_file: Path) -> None:
    """Restarting a live child reports nothing."""
    async with _stack(mesh_file) as stack:
        await stack.restart("alpha-1", grace_s=2)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(stack.next_exit(), 0.1)


async def test_redis_comes_back_under_its_url(fakes: Path, mesh_file: Path) -> None:
    """Killed with -9 and restarted, it listens where the children look for it."""
    async with _stack(mesh_file) as stack:
        stack.kill("redis", signal.SIGKILL)
        assert (await asyncio.wait_for(stack.next_exit(), 5)).name == "redis"
        await stack.restart("redis")
        assert stack.redis is not None
        assert stack.redis.url == stack.redis_url
        assert stack.redis.child.running


async def test_a_child_that_ignores_sigterm_is_killed_after_its_grace(
    fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopping takes no longer than the grace given, stopped (SIGSTOP) children included."""
    monkeypatch.setenv("FAKE_TROUBLE", "deaf")
    stack = _stack(mesh_file)
    await stack.start()
    stack.kill("alpha-1", signal.SIGSTOP)
    began = time.monotonic()
    await stack.stop(0.3)
    assert time.monotonic() - began < 3
    assert [child.exit_code for child in stack.nodes] == [-signal.SIGKILL] * 2


async def test_without_a_redis_server_the_links_carry_everything(
    fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The children are told 'none', and one line says so."""

    def missing(**_: object) -> None:
        raise NoRedisServer("no redis-server here")

    monkeypatch.setattr(stack_module, "EmbeddedRedis", missing)
    said: list[str] = []
    async with _stack(mesh_file, say=said.append) as stack:
        assert stack.redis_url == "none"
        assert _noted(fakes, "router-0")["redis"] == "none"
        assert said[0] == "without Redis, over the links alone: no redis-server here"


async def test_a_busy_port_is_named_with_its_key(fakes: Path, mesh_file: Path) -> None:
    """A router would share the port (SO_REUSEPORT) with a stranger's and get half its requests."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        _rewrite(mesh_file, 'listen: "127.0.0.1:0"', f'listen: "127.0.0.1:{port}"')
        with pytest.raises(StackError, match=rf"127\.0\.0\.1:{port} \(router\.listen\).*mesh\.yaml"):
            await _stack(mesh_file).start()


async def test_logs_stay_in_a_run_folder_that_was_asked_for(fakes: Path, mesh_file: Path, tmp_path: Path) -> None:
    """One file for each child; sockets do not stay."""
    run_dir = tmp_path / "run"
    async with _stack(mesh_file, run_dir=run_dir):
        pass
    assert sorted(os.listdir(run_dir)) == ["alpha-0.log", "alpha-1.log", "redis.log", "router.log"]
    assert _lines(run_dir / "alpha-0.log") == ["alpha-0 says hello"]


async def test_listen_addresses_count_up_and_advertised_ones_are_dialled(fakes: Path, mesh_file: Path) -> None:
    """Replicas take the next ports; a router dials what a node advertises."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1] % 30000 + 20000
    addresses = f'listen: "0.0.0.0:{port}", advertise: "localhost:{port}"'
    _rewrite(mesh_file, "replicas: 2", f"replicas: 2, {addresses}")
    async with _stack(mesh_file) as stack:
        assert [node.address for node in stack.nodes] == [f"0.0.0.0:{port}", f"0.0.0.0:{port + 1}"]
        dialled = _given(_noted(fakes, "router-0"), "--node-address")
        assert dialled == [f"localhost:{port}", f"localhost:{port + 1}"]


def test_a_killed_parent_takes_its_children_along(fakes: Path, mesh_file: Path) -> None:
    """SIGKILL leaves it no time to tidy: the kernel tells the children."""
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(mesh_file)], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        children = [psutil.Process(pid) for pid in json.loads(parent.stdout.readline())]
        assert len(children) == 4
        folder = Path(next(a for a in children[1].cmdline() if a.startswith("unix:"))[5:]).parent
        parent.kill()
        parent.wait()
        _, alive = psutil.wait_procs(children, timeout=5)
        assert alive == []
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()


_PARENT = """
import asyncio, json, sys
from pathlib import Path
from isochrone.config import load_config
from isochrone.stack import Stack

async def main():
    path = Path(sys.argv[1])
    async with Stack(load_config(path), path) as stack:
        print(json.dumps([child.pid for child in stack.children]), flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_repr_is_what_an_operator_wants_to_read(fakes: Path, mesh_file: Path) -> None:
    """Who runs, under which pid, where."""
    stack = _stack(mesh_file)
    assert repr(stack) == "<stack fakes: not started>"
    async with stack:
        assert f"<router router: pid {stack.router.pid}, at 127.0.0.1:" in repr(stack)
        with pytest.raises(StackError, match="no child 'beta' in this stack; there are: redis, alpha-0"):
            stack.child("beta")
    assert "<node alpha-0: exit code 0, at unix:" in repr(stack)
    assert os.getpid() not in [child.pid for child in stack.children]
