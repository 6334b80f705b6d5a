"""Callers of a router of several processes: one SIGHUP to the first has all of them read the file again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from conftest import StartMesh
from harness import Mesh, Status, until
from harness.callers import CALLERS, TOKENS, client_of, outcome, write_callers
from isochrone.client import Client
from isochrone.credentials import hash_of, new_token
from isochrone.ports import a_free_one, nth

pytestmark = pytest.mark.processes

PROCESSES = 2


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "callers.yaml"
    write_callers(path, CALLERS)
    return path


@pytest.fixture
async def crew(mesh: StartMesh, file: Path) -> Mesh:
    router = {"processes": PROCESSES, "listen": a_free_one(), "admin": a_free_one(), "callers_file": str(file)}
    return await mesh(nodes=1, router=router)


async def status_of(crew: Mesh, index: int) -> Status:
    async with aiohttp.ClientSession() as http, http.get(f"http://{nth(crew.router.admin, index)}/status") as got:
        return dict(await got.json())


async def connected(crew: Mesh, stack: AsyncExitStack) -> list[Client]:
    """Clients of one caller, with a session at every process: the kernel spreads them."""
    clients: list[Client] = []
    while not all([(await status_of(crew, index))["router"]["sessions"] for index in range(PROCESSES)]):
        assert len(clients) < 40
        # Channels of one process share a connection where all their options are equal.
        client = client_of(crew.router, "shop", sessions=1, max_message_bytes=2**20 + len(clients))
        clients.append(await stack.enter_async_context(client))
        assert await outcome(clients[-1]) == "OK"
    return clients


def rewrite_unseen(path: Path, old: str, new: str) -> None:
    """So that nobody who looks at the file from outside notices: only who reads it does."""
    seen = path.stat()
    text = path.read_text()
    assert len(old) == len(new)
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    now = path.stat()
    assert (now.st_size, now.st_mtime_ns, now.st_ino) == (seen.st_size, seen.st_mtime_ns, seen.st_ino)


async def refused(crew: Mesh, reason: str) -> list[int]:
    """How often each process has refused shop with that reason."""
    counts = []
    for index in range(PROCESSES):
        url = f"http://{nth(crew.router.admin, index)}/metrics"
        async with aiohttp.ClientSession() as http, http.get(url) as got:
            lines = (await got.text()).splitlines()
        sample = f'isochrone_caller_refusals_total{{caller="other",reason="{reason}"}} '
        counts.append(sum(int(line.removeprefix(sample)) for line in lines if line.startswith(sample)))
    return counts


async def test_a_hangup_reaches_every_process(crew: Mesh, file: Path) -> None:
    """A token that was taken back is refused by all of them, on the sessions that were open; the one that replaces it
    is taken. Nothing but the signal said that the file had changed."""
    renewed = new_token()
    async with AsyncExitStack() as stack:
        clients = await connected(crew, stack)
        rewrite_unseen(file, hash_of(TOKENS["shop"]), hash_of(renewed))
        crew.router.send(signal.SIGHUP)
        await _all_changed(crew)
        assert {await outcome(client) for client in clients} == {"REVOKED"}
        counts = await refused(crew, "REVOKED")
        assert min(counts) > 0
        assert sum(counts) == len(clients)
        lines = [line for line in crew.log("router").splitlines() if "callers are now" in line]
        assert sorted(line.split()[0] for line in lines) == ["router-0", "router-1"]
        again = await stack.enter_async_context(Client(crew.router.address, token=renewed))
        assert await outcome(again) == "OK"


async def test_a_changed_file_is_noticed_by_every_process(crew: Mesh, file: Path) -> None:
    """Without a signal as well; and one that can't be read changes nothing in any of them."""
    async with AsyncExitStack() as stack:
        clients = await connected(crew, stack)
        file.write_text("callers: [what?")
        crew.router.send(signal.SIGHUP)
        await _logged(crew, "callers stay as they are", times=PROCESSES)
        assert {await outcome(client) for client in clients} == {"OK"}
        write_callers(file, {name: caller for name, caller in CALLERS.items() if name != "shop"})
        await _all_changed(crew)
        assert {await outcome(client) for client in clients} == {"REVOKED"}


async def test_a_process_that_fell_comes_back_with_the_callers_of_now(crew: Mesh, file: Path) -> None:
    """It reads the file as it is, and so nobody is let in by what it was."""
    write_callers(file, {name: caller for name, caller in CALLERS.items() if name != "shop"})
    await _all_changed(crew)
    before = (await status_of(crew, 1))["router"]["pid"]
    os.kill(before, signal.SIGKILL)

    async def look() -> Status:
        return await status_of(crew, 1)

    told = await until(look, lambda status: bool(status["router"]["pid"] != before), within_s=30)
    assert "shop" not in json.dumps(told["callers"])
    ended = await asyncio.gather(*(_asked_anew(crew, number) for number in range(12)))
    assert set(ended) <= {"REVOKED", "UNKNOWN_CALLER"}


async def _asked_anew(crew: Mesh, number: int) -> str:
    """On a connection of its own. A process that never knew the token can't say that it was taken back."""
    async with client_of(crew.router, "shop", sessions=0, max_message_bytes=2**21 + number) as client:
        return (await outcome(client)).partition(",")[0]


async def _all_changed(crew: Mesh) -> None:
    await _logged(crew, "callers are now", times=PROCESSES)


async def _logged(crew: Mesh, words: str, *, times: int) -> None:
    async def look() -> Status:
        return {"log": crew.log("router")}

    await until(look, lambda seen: seen["log"].count(words) >= times)
