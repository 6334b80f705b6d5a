"""`isochrone up` keeps a mesh running: what crashes comes back, and Ctrl-C ends all of it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest

from isochrone.cli.signals import Stopped, handled
from isochrone.cli.supervisor import Supervisor, pause_s
from isochrone.config import load_config
from isochrone.stack import Stack, StackError


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


def test_pauses_grow_to_a_limit() -> None:
    """Soon at first; a process that can't live is not started in a tight loop."""
    pauses = [pause_s(failures) for failures in range(1, 40)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses == sorted(pauses)
    assert pauses[-1] == 15


async def test_a_crashed_child_comes_back_and_it_is_said(fakes: Path, mesh_file: Path) -> None:
    """Node, router or Redis alike."""
    said: list[str] = []
    async with Stack(load_config(mesh_file), mesh_file) as stack:
        supervising = asyncio.create_task(Supervisor(stack, say=said.append).run())
        for name in ("alpha-0", "router", "redis"):
            child = stack.child(name)
            pid = child.pid
            stack.kill(name, signal.SIGKILL)
            await eventually(lambda child=child, pid=pid: child.pid != pid and child.running)
            assert said == [f"{name} ended, killed by SIGKILL; starting it again in 0.2 s"]
            said.clear()
        supervising.cancel()
        await asyncio.wait({supervising})


async def test_a_child_that_can_t_start_is_tried_later_and_later(
    fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each failure doubles the pause, and its reason is said."""
    said: list[str] = []
    async with Stack(load_config(mesh_file), mesh_file) as stack:
        failures = iter((StackError("no model"), StackError("no model"), None))

        async def restart(name: str) -> None:
            if (failure := next(failures)) is not None:
                raise failure

        monkeypatch.setattr(stack, "restart", restart)
        supervising = asyncio.create_task(Supervisor(stack, say=said.append).run())
        stack.kill("alpha-1", signal.SIGKILL)
        await eventually(lambda: len(said) == 3)
        assert [line.rpartition(" in ")[2] for line in said] == ["0.2 s", "0.4 s", "0.8 s"]
        assert said[1].startswith("no model; starting it again")
        supervising.cancel()
        await asyncio.wait({supervising})


async def test_the_first_signal_stops_work_and_the_second_insists() -> None:
    """What was under way is cancelled, and awaited."""
    insisted: list[bool] = []
    with handled(lambda: insisted.append(True)) as signals:
        assert await signals.unless_stopped(asyncio.sleep(0, "done")) == "done"
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
        with pytest.raises(Stopped):
            await signals.unless_stopped(asyncio.sleep(60))
        assert (signals.came, insisted) == (True, [])
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.01)
        assert insisted == [True]


@contextmanager
def up(mesh_file: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], IO[str]]]:
    """`isochrone up` as a process, and its stderr."""
    code = "from isochrone.cli import main; main()"
    command = [sys.executable, "-c", code, "up", str(mesh_file), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, process.stdout
        finally:
            process.kill()


def read_until(output: IO[str], words: str) -> list[str]:
    lines: list[str] = []
    for line in output:
        lines.append(line.rstrip())
        if words in line:
            return lines
    raise AssertionError(f"{words!r} was never said, but: {lines}")


def test_ctrl_c_drains_everything(fakes: Path, mesh_file: Path) -> None:
    """Each process is named when it is ready, its lines carry its name, and all leave with exit code 0."""
    with up(mesh_file) as (process, output):
        lines = read_until(output, "Ctrl-C ends it")
        assert any(line.startswith("alpha-0    │ alpha-0 says hello") for line in lines)
        assert any(line.startswith("router is ready on 127.0.0.1:") for line in lines)
        children = psutil.Process(process.pid).children()
        assert len(children) == 4
        process.send_signal(signal.SIGINT)
        read_until(output, "draining")
        assert process.wait(10) == 0
        assert psutil.wait_procs(children, timeout=1)[1] == []
    assert (fakes / "alpha-1.drained").exists()


def test_a_second_ctrl_c_does_not_wait(fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Children that won't drain are killed."""
    monkeypatch.setenv("FAKE_TROUBLE", "deaf")
    mesh_file.write_text(mesh_file.read_text().replace("drain_s: 3", "drain_s: 60"))
    with up(mesh_file) as (process, output):
        read_until(output, "Ctrl-C ends it")
        process.send_signal(signal.SIGINT)
        read_until(output, "draining")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_without_restarts_a_crash_ends_it(fakes: Path, mesh_file: Path, tmp_path: Path) -> None:
    """For supervisors that restart the whole of it: exit code 1."""
    with up(mesh_file, "--no-restart", "--logs", str(tmp_path / "logs")) as (process, output):
        read_until(output, "Ctrl-C ends it")
        node = next(p for p in psutil.Process(process.pid).children() if "--node" in p.cmdline())
        node.kill()
        assert "killed by SIGKILL; ending everything" in read_until(output, "ending everything")[-1]
        assert process.wait(10) == 1
    assert (tmp_path / "logs" / "router.log").read_text() == "router-0 says hello\n"


def test_a_failed_start_is_one_readable_error(fakes: Path, mesh_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the child's last words, and no traceback."""
    monkeypatch.setenv("FAKE_TROUBLE", "die alpha-0")
    with up(mesh_file, "--logs", str(fakes.parent / "logs")) as (process, output):
        text = output.read()
        assert process.wait(10) == 1
    assert "stack error: alpha-0 ended before it was ready, exit code 3" in text
    assert "  | the model file is gone" in text
    assert "Traceback" not in text
