"""Meshes of real processes for tests, callers to load them with, and what to look at afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml
from redis.asyncio import Redis
from redis.exceptions import RedisError

from isochrone.child import Child
from isochrone.client import Client
from isochrone.client.budget import Budget
from isochrone.client.transport import MAX_MESSAGE_BYTES
from isochrone.config import load_config
from isochrone.embedded import private_folder, redis_server
from isochrone.errors import IsochroneError
from isochrone.keys import Keys
from isochrone.stack import Stack
from isochrone.testing.journal import Journal
from isochrone.testing.models import ECHO, SLEEP
from isochrone.testing.v1 import toy_pb2

MESH = "test"
KEYS = Keys(MESH)
SLEEP_LANE = "sleep@cpu"
HANGS_S = 20.0
"""A caller that waits for longer hangs: every deadline here is far shorter."""

Status = dict[str, Any]
"""What a router's /status says."""


async def until(
    look: Callable[[], Awaitable[Status]], is_so: Callable[[Status], bool], *, within_s: float = 15.0
) -> Status:
    """Looks until it is so, and gives what was seen. Fails with the last thing seen."""
    seen: Status = {}
    try:
        async with asyncio.timeout(within_s):
            while True:
                try:
                    seen = await look()
                    if is_so(seen):
                        return seen
                except aiohttp.ClientConnectionError as error:  # its process is away for the moment
                    seen = {"error": str(error)}
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not so within {within_s:g} s; last seen: {seen}") from None


class RedisServer:
    """A real redis-server of the test's own, on a Unix socket unless its options say more."""

    def __init__(self, *options: str, logs: Path, env: dict[str, str] | None = None, binary: Path | None = None):
        self.folder = private_folder()
        self.socket = self.folder / "redis.sock"
        self.url = f"unix://{self.socket}"
        self.password: str | None = None
        """Of the default user, for the test's own look inside."""
        command = (
            *(str(binary or redis_server()), "--port", "0", "--unixsocket", str(self.socket)),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no", *options),
        )
        self.child = Child(name="redis", kind="redis", command=command, log=logs, env=env, probe=self._answers)

    async def start(self) -> None:
        """Starts it, or starts it again, empty."""
        await self.child.start(timeout_s=10)

    async def kill(self) -> None:
        """SIGKILL, as an accident would have it."""
        self.child.stopping = True
        self.child.kill()
        await self.child.wait()

    def stop_short(self) -> None:
        """SIGSTOP: it is there, takes connections, and says nothing."""
        self.child.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.child.send(signal.SIGCONT)

    async def close(self) -> None:
        await self.child.stop(0)
        shutil.rmtree(self.folder, ignore_errors=True)

    def look(self) -> Redis:
        """A connection of the test's own; `async with` closes it."""
        return Redis(unix_socket_path=str(self.socket), password=self.password)

    async def say(self, *command: str | int) -> Any:
        """Runs one command."""
        async with self.look() as redis:
            return await redis.execute_command(*command)

    async def keys_for_ever(self) -> list[str]:
        """Keys that would never expire; there should be none."""
        async with self.look() as redis:
            return [key.decode() for key in await redis.keys() if await redis.pttl(key) == -1]

    async def waiting_jobs(self) -> dict[str, int]:
        """How many jobs wait in each lane that has any."""
        async with self.look() as redis:
            lanes = [key for key in await redis.keys() if b":lane:" in key]
            return {key.decode(): await redis.zcard(key) for key in lanes}

    async def _answers(self) -> bool:
        try:
            return bool(await self.say("PING"))
        except RedisError as error:
            return "NOAUTH" in str(error) or "NOPERM" in str(error)
        except OSError:
            return False


class Proxy:
    """A Unix socket in front of another, whose connections can be cut for one process and not for others."""

    def __init__(self, listen: str, target: str):
        self._listen = listen.removeprefix("unix:")
        self._target = target.removeprefix("unix:")
        self._cut_off: set[int] = set()
        self._frozen: set[int] = set()
        self._only: int | None = None
        self._thawed = asyncio.Event()
        self._connections: dict[asyncio.StreamWriter, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._listen)

    def cut(self, pid: int) -> None:
        """Breaks the connections of a process and refuses new ones: a cable is pulled out, and somebody noticed."""
        self._cut_off.add(pid)
        for writer in [writer for writer, owner in self._connections.items() if owner == pid]:
            writer.transport.abort()

    def freeze(self, pid: int) -> None:
        """Lets nothing through any more and breaks nothing: a network that swallows what it is given."""
        self._frozen.add(pid)
        self._thawed.clear()

    def allow_only(self, pid: int | None) -> None:
        """Refuses new connections of everybody else."""
        self._only = pid

    def heal(self) -> None:
        self._only = None
        self._cut_off.clear()
        self._frozen.clear()
        self._thawed.set()

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        [pid] = struct.unpack(
            "i8x", writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        )
        if pid in self._cut_off or self._only not in (None, pid):
            writer.transport.abort()
            return
        beyond, onward = await asyncio.open_unix_connection(self._target)
        self._connections |= {writer: pid, onward: pid}
        for source, sink in ((reader, onward), (beyond, writer)):
            task = asyncio.create_task(self._carry(source, sink, pid))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, pid: int) -> None:
        try:
            while data := await source.read(65536):
                while pid in self._frozen:
                    await self._thawed.wait()
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            self._connections.pop(sink, None)
            sink.close()


@dataclass
class Mesh:
    """A running mesh: its stack, its Redis if it has one, and what its toys noted."""

    stack: Stack
    redis: RedisServer | None
    journal: Journal
    logs: Path
    more_routers: list[Child] = field(default_factory=list)
    clients: list[Client] = field(default_factory=list)

    @property
    def router(self) -> Child:
        return self.stack.router

    @property
    def routers(self) -> list[Child]:
        return [self.stack.router, *self.more_routers]

    @property
    def nodes(self) -> list[Child]:
        return self.stack.nodes

    def client(self, router: Child | None = None) -> Client:
        """A client of a router of this mesh, the first unless said, with a connection of its own."""
        # Channels of one process share a connection where all their options are equal.
        client = Client((router or self.router).address, max_message_bytes=MAX_MESSAGE_BYTES - len(self.clients))
        self.clients.append(client)
        return client

    def log(self, name: str) -> str:
        """What a process has logged so far."""
        path = self.logs / f"{name}.log"
        return path.read_text() if path.exists() else ""

    async def status(self, router: Child | None = None) -> Status:
        async with aiohttp.ClientSession() as http, http.get(f"http://{(router or self.router).admin}/status") as got:
            return dict(await got.json())

    async def until(
        self, is_so: Callable[[Status], bool], *, router: Child | None = None, within_s: float = 15.0
    ) -> Status:
        """Waits until a router's status is so."""
        return await until(lambda: self.status(router), is_so, within_s=within_s)

    async def at_rest(self) -> None:
        """Waits until nobody knows of any request: no router, no node, no lane."""
        for router in self.routers:
            if router.running:
                await self.until(is_idle, router=router)
        if self.redis is not None:
            redis = self.redis

            async def look() -> Status:
                return await redis.waiting_jobs()

            await until(look, lambda waiting: not waiting, within_s=5)

    async def add_router(self, name: str, *, env: dict[str, str] | None = None) -> Child:
        """Starts one more router of this mesh, at ports of its own."""
        settings = yaml.safe_load((self.logs.parent / "mesh.yaml").read_text())
        settings["router"]["name"] = name
        path = self.logs.parent / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings))
        more = [part for node in self.nodes for part in ("--node-address", self.stack._dialled(node))]
        child = Child(
            name=name,
            kind="router",
            command=(sys.executable, "-m", "isochrone_router", "--config", str(path), *more),
            log=self.logs,
            env=env,
        )
        await child.start(timeout_s=30)
        self.more_routers.append(child)
        return child

    async def close(self) -> None:
        for client in self.clients:
            await client.close(grace_s=0)
        await asyncio.gather(*(router.stop(0) for router in self.more_routers))
        await self.stack.stop(0)


def settings(
    *,
    nodes: int = 2,
    redis: dict[str, Any] | None = None,
    router: dict[str, Any] | None = None,
    route: dict[str, Any] | None = None,
    node: dict[str, Any] | None = None,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A mesh of toys as its YAML file has it. Deadlines are long unless a test is about them: what must not
    fail must not fail for want of a core either."""
    sla = {"objective_ms": 500, "deadline_ms": 2000} | (route or {})
    return {
        "mesh": MESH,
        "redis": redis or {"url": "none"},
        "router": {"listen": "127.0.0.1:0", "admin": "127.0.0.1:0"} | (router or {}),
        "routes": {ECHO: sla | {"lanes": ["echo@cpu"]}, SLEEP: sla | {"lanes": [SLEEP_LANE]}},
        "nodes": {
            "toy": {"service": "toy", "replicas": nodes, "options": {"sleep_ms": 4, "batch_jobs": 8} | (options or {})}
            | (node or {})
        },
    }


async def start_mesh(
    folder: Path,
    *,
    redis: RedisServer | None = None,
    redis_settings: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
    instead: dict[str, Any] | None = None,
    **changes: Any,
) -> Mesh:
    """Writes the file (see `settings`) and starts what it describes, with `env` in every process. `instead` has
    whole sections that replace those of the toys."""
    logs = folder / "logs"
    journal = folder / "journal"
    changes["options"] = {"journal": str(journal)} | changes.get("options", {})
    if redis is not None:
        changes["redis"] = {"url": redis.url} | (redis_settings or {})
    path = folder / "mesh.yaml"
    path.write_text(yaml.safe_dump(settings(**changes) | (instead or {})))
    before = {name: os.environ.get(name) for name in env or {}}
    os.environ.update(env or {})
    try:
        stack = Stack(load_config(path), path, run_dir=logs, ready_s=40)
        await stack.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    return Mesh(stack, redis, Journal(journal), logs)


def is_idle(status: Status) -> bool:
    """Whether a router owns no request, has given none to a node, and the nodes say that they have none."""
    router = status["router"]
    return not any((router["inflight"], router["inflight_bytes"], *map(_has_jobs, status["nodes"])))


def _has_jobs(node: Status) -> bool:
    return bool(node["inflight"] or node["backlog"])


def goes_through_redis(status: Status, lane: str = SLEEP_LANE) -> bool:
    return any(view["lane"] == lane and view["mode"] == "lane" for view in status["lanes"])


def goes_over_links(status: Status, lane: str = SLEEP_LANE) -> bool:
    return any(view["lane"] == lane and view["mode"] == "links" for view in status["lanes"])


@dataclass(frozen=True, slots=True)
class Sent:
    """A request and what became of it. Times are on the monotonic clock."""

    body: bytes
    began_s: float
    ended_s: float
    answer: bytes | None = None
    error: BaseException | None = None
    budget: Budget | None = None

    @property
    def took_s(self) -> float:
        return self.ended_s - self.began_s

    @property
    def outcome(self) -> str:
        """ "answered", "wrong answer", or the name of the error."""
        if self.error is not None:
            return type(self.error).__name__
        return "answered" if self.answer == self.body else "wrong answer"


_numbers = count(1)


def new_body(size: int = 0) -> bytes:
    """A body that no other request of this test run has."""
    name = b"%d-%d." % (os.getpid(), next(_numbers))
    return name + b"." * max(0, size - len(name))


async def send(
    client: Client, *, timeout_s: float | None = None, size: int = 0, units: int = 0, trouble: str = ""
) -> Sent:
    """One request for a Sleep, with a body of its own."""
    body = new_body(size)
    payload = toy_pb2.ToyMessage(body=body, units=units, trouble=trouble).SerializeToString()
    began_s = time.monotonic()
    try:
        answer = await client.call(SLEEP, payload, timeout_s=timeout_s)
    except IsochroneError as error:
        return Sent(body, began_s, time.monotonic(), error=error, budget=error.budget)
    ended_s = time.monotonic()
    return Sent(body, began_s, ended_s, answer=toy_pb2.ToyMessage.FromString(answer.payload).body, budget=answer.budget)


class Load:
    """Callers that each send one request after another while the `async with` lasts, and what became of all."""

    def __init__(
        self, *clients: Client, callers: int = 8, pause_s: float = 0.0, timeout_s: float | None = None, size: int = 0
    ):
        self._clients = clients
        self._callers = callers
        self._pause_s = pause_s
        self._request: dict[str, Any] = {"timeout_s": timeout_s, "size": size}
        self._tasks: list[asyncio.Task[None]] = []
        self._ending = False
        self._news = asyncio.Event()
        self.sent: list[Sent] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._call(self._clients[n % len(self._clients)])) for n in range(self._callers)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ending = True
        _, hanging = await asyncio.wait(self._tasks, timeout=HANGS_S)
        for task in hanging:
            task.cancel()
        assert not hanging, f"{len(hanging)} of {self._callers} callers hang"
        for task in self._tasks:
            task.result()

    async def answers(self, more: int) -> None:
        """Waits until so many more requests have been answered."""
        wanted = self.answered + more
        await self.until(lambda: self.answered >= wanted)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Waits until it is so, looking whenever a request has ended."""
        try:
            async with asyncio.timeout(HANGS_S):
                while not is_so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not so within {HANGS_S:g} s: {self.outcomes}") from None

    @property
    def answered(self) -> int:
        return sum(sent.outcome == "answered" for sent in self.sent)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(sent.outcome for sent in self.sent)

    @property
    def failures(self) -> list[Sent]:
        """All that were not answered with what they sent."""
        return [sent for sent in self.sent if sent.outcome != "answered"]

    async def _call(self, client: Client) -> None:
        while not self._ending:
            self.sent.append(await send(client, **self._request))
            self._news.set()
            if self._pause_s:
                await asyncio.sleep(self._pause_s)


class Starvation:
    """How long the processes of a mesh, and this one, wanted a core and got none, by the kernel's own account.

    What a machine with too few cores did not give, a mesh can't make good within 100 ms: tests with such deadlines
    leave out what was starved, and say how much that may be.
    """

    def __init__(self, running: Mesh):
        self._running = running
        self._spells: list[tuple[float, float, float]] = []
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._watching is not None
        self._watching.cancel()
        await asyncio.wait({self._watching})

    def of(self, sent: Sent) -> float:
        """Seconds for which some process had to wait for a core while this request was under way."""
        return sum(waited_s for from_s, to_s, waited_s in self._spells if from_s < sent.ended_s and to_s > sent.began_s)

    async def _watch(self) -> None:
        before_s, before = time.monotonic(), self._waited_s()
        while True:
            await asyncio.sleep(0.005)
            now_s, now = time.monotonic(), self._waited_s()
            self._spells.append((before_s, now_s, max(now[pid] - before.get(pid, now[pid]) for pid in now)))
            before_s, before = now_s, now

    def _waited_s(self) -> dict[int, float]:
        """By process, in all its life so far; its main thread, which has the event loop."""
        waited = {os.getpid(): 0.0}
        for child in (*self._running.routers, *self._running.nodes):
            if child.running and child.pid is not None:
                waited[child.pid] = 0.0
        for pid in waited:
            with contextlib.suppress(OSError):
                waited[pid] = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        return waited


def replayed(journal: Journal, sent: Sequence[Sent], *, after_s: float = 0.5) -> list[bytes]:
    """Bodies that a node ran long after they had been answered: leftovers that came back from the dead."""
    answered_s = {one.body[:64]: one.ended_s for one in sent}
    return [
        body
        for forward in journal.forwards()
        for body in forward.bodies
        if forward.began_s > answered_s.get(body, forward.began_s) + after_s
    ]
