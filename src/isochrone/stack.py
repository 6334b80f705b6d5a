"""A whole mesh on this machine: the processes that one YAML file describes, started and ended as one."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from isochrone import ports
from isochrone.child import Child, Kind, Log, StackError, in_words
from isochrone.config import MeshConfig
from isochrone.embedded import EmbeddedRedis, NoRedisServer, private_folder

__all__ = ["SERVICES", "Child", "Exit", "Stack", "StackError", "service_module"]

SERVICES = {
    "llm": "isochrone_llm",
    "recsys": "isochrone_recsys",
    "toy": "isochrone.testing.toy",
    "vision": "isochrone_vision",
}
_KILLED_S = 5.0


def service_module(service: str) -> str:
    """The module that runs a service of the configuration: `python -m` it."""
    return SERVICES.get(service, service)


@dataclass(frozen=True, slots=True)
class Exit:
    """A child ended without having been told to."""

    name: str
    code: int

    def __str__(self) -> str:
        return f"{self.name} ended, {in_words(self.code)}"


def _silent(line: str) -> None: ...


class Stack:
    """The children of one mesh: `async with Stack(config, path) as stack:` has them ready, then none is left.

    Embedded Redis first, and another as the cache of last good answers where one is wanted, then the nodes side by
    side, then the router, which gets every node's address, so that it works without Redis too. Ending goes the other
    way: the router drains while the nodes still answer. A child that ends by itself is reported by `next_exit`;
    restarting it is for the caller to decide.
    """

    def __init__(
        self,
        config: MeshConfig,
        config_path: Path,
        *,
        run_dir: Path | None = None,
        log: Log | None = None,
        say: Callable[[str], None] = _silent,
        ready_s: float = 60.0,
    ) -> None:
        """`run_dir` keeps the logs; unset, a private folder that is removed at the end. `log` sends them
        elsewhere. `say` gets a line when something has started. `ready_s`: what each child has for its start.
        """
        self.config = config
        self.redis_url = config.redis.resolved_url()
        """What the children get as ISOCHRONE_REDIS_URL."""
        self.redis: EmbeddedRedis | None = None
        self.cache_url = config.cache.resolved_url()
        """And as ISOCHRONE_CACHE_URL."""
        self.cache: EmbeddedRedis | None = None
        self.children: list[Child] = []
        self._config_path = config_path.resolve()
        self._run_dir = run_dir.resolve() if run_dir is not None else None
        self._log = log
        self._say = say
        self._ready_s = ready_s
        self._folder: Path | None = None
        self._watchers: dict[str, asyncio.Task[None]] = {}
        self._exits: asyncio.Queue[Exit] = asyncio.Queue()

    def __repr__(self) -> str:
        return f"<stack {self.config.mesh}: {', '.join(map(repr, self.children)) or 'not started'}>"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop(None if error is None else 0)

    @property
    def router(self) -> Child:
        """The router. Raises StackError before it has started."""
        return self.child("router")

    @property
    def nodes(self) -> list[Child]:
        return self._of_kind("node")

    @property
    def target(self) -> str:
        """What a client of the mesh dials."""
        return ports.dialable(self.router.address)

    @property
    def admin_url(self) -> str:
        """The router's admin HTTP, "http://127.0.0.1:8080"."""
        return f"{self.config.router.admin_scheme}://{ports.dialable(self.router.admin)}"

    def child(self, name: str) -> Child:
        """The child of that name. Raises StackError naming those there are."""
        for child in self.children:
            if child.name == name:
                return child
        names = ", ".join(child.name for child in self.children) or "none"
        raise StackError(f"no child {name!r} in this stack; there are: {names}")

    async def start(self) -> None:
        """Starts everything and waits until it is ready. Raises StackError, with nothing left running."""
        taken = [f"{address} ({key})" for key, address in taken_addresses(self.config)]
        if taken:
            raise StackError(f"in use by another process: {', '.join(taken)}. Stop it, or change {self._config_path}")
        self._folder = private_folder()
        if self._run_dir is not None:
            self._run_dir.mkdir(parents=True, exist_ok=True)
        try:
            if self.redis_url == "embedded":
                await self._start_redis()
            if self.cache_url == "embedded":
                await self._start_cache()
            nodes = [self._node(group, index) for group, index in self._places()]
            async with asyncio.TaskGroup() as starting:
                for node in nodes:
                    starting.create_task(self._launch(node))
            await self._launch(self._router([self._dialled(node) for node in nodes]))
        except BaseException as error:
            await self.stop(0)
            if isinstance(error, BaseExceptionGroup):  # one reason is enough; the others are mostly the same
                raise _first(error) from None
            raise

    async def stop(self, grace_s: float | None = None) -> None:
        """Ends everything: router, then nodes, then Redis. No process and no file of it stays behind, also when
        this is cancelled. `grace_s`, for each step, is by default what the file gives for draining; 0: at once.
        """
        drains_s = [node.drain_s for node in self.config.nodes.values()]
        try:
            await self._stop_all("router", self.config.router.drain_s if grace_s is None else grace_s)
            await self._stop_all("node", max(drains_s, default=0) if grace_s is None else grace_s)
        finally:
            self.kill_all()
            for watcher in self._watchers.values():
                watcher.cancel()
            self._watchers.clear()
            try:
                await asyncio.gather(*(child.stop(0) for child in self.children))
            finally:
                if self._folder is not None:
                    shutil.rmtree(self._folder, ignore_errors=True)

    def kill_all(self) -> None:
        """SIGKILL to every child, now: what a second Ctrl-C does."""
        for child in self.children:
            child.stopping = True
            child.kill()

    def kill(self, name: str, number: int) -> None:
        """Sends a child a signal, as an accident would; `next_exit` reports its end, if it ends."""
        self.child(name).send(number)

    async def restart(self, name: str, *, grace_s: float = 0.0) -> Child:
        """Ends a child, if it still runs, and starts it again at the same address. Raises StackError."""
        child = self.child(name)
        await child.stop(grace_s)
        await self._launch(child)
        return child

    async def next_exit(self) -> Exit:
        """Waits for the next child that ends without having been told to."""
        while True:
            exited = await self._exits.get()
            if not self.child(exited.name).running:  # else it was restarted meanwhile
                return exited

    async def _launch(self, child: Child) -> None:
        if child not in self.children:
            self.children.append(child)
        previous = self._watchers.pop(child.name, None)
        if previous is not None:
            previous.cancel()
        for address in (child.address, child.api):
            _forget_socket(address)  # of a life that was killed
        await child.start(timeout_s=self._ready_s)
        self._watchers[child.name] = asyncio.create_task(self._watch(child), name=f"watch {child.name}")
        admin = f", admin on {self.config.router.admin_scheme}://{child.admin}" if child.admin else ""
        api = f", its own API on {child.api}" if child.api else ""
        self._say(f"{child.name} is ready on {child.address}{admin}{api} (pid {child.pid})")

    async def _watch(self, child: Child) -> None:
        code = await child.wait()
        if not child.stopping:
            self._exits.put_nowait(Exit(child.name, code))

    async def _stop_all(self, kind: Kind, grace_s: float) -> None:
        await asyncio.gather(*(child.stop(grace_s) for child in self._of_kind(kind)))

    async def _start_redis(self) -> None:
        try:
            self.redis = EmbeddedRedis(log=self._logs, folder=self._folder)
        except NoRedisServer as missing:
            self._say(f"without Redis, over the links alone: {missing}")
            self.redis_url = "none"
            return
        self.redis_url = self.redis.url
        await self._launch(self.redis.child)

    async def _start_cache(self) -> None:
        """A server of its own: how memory is kept within bounds is a server's, and lanes must lose nothing."""
        self.cache_url = "none"
        if not self.config.remembers:
            return
        try:
            self.cache = EmbeddedRedis(
                log=self._logs, folder=self._folder, maxmemory="128mb", name="cache", is_cache=True
            )
        except NoRedisServer:
            self._say("without a cache: each router process keeps last good answers by itself")
            return
        self.cache_url = self.cache.url
        await self._launch(self.cache.child)

    def _places(self) -> list[tuple[str, int]]:
        return [(group, k) for group, node in self.config.nodes.items() for k in range(node.replicas)]

    def _node(self, group: str, index: int) -> Child:
        settings = self.config.nodes[group]
        name = f"{group}-{index}"
        listen = ports.nth(settings.listen, index) if settings.listen else self._socket(name)
        command = ("--node", group, "--index", str(index), "--listen", listen)
        child = self._python(name, "node", service_module(settings.service), command)
        child.address = listen
        return child

    def _router(self, nodes: Sequence[str]) -> Child:
        more = [part for address in nodes for part in ("--node-address", address)]
        return self._python("router", "router", "isochrone_router", more)

    def _python(self, name: str, kind: Kind, module: str, more: Sequence[str]) -> Child:
        command = (sys.executable, "-m", module, "--config", str(self._config_path), *more)
        env = {"ISOCHRONE_REDIS_URL": self.redis_url, "ISOCHRONE_CACHE_URL": self.cache_url}
        return Child(name=name, kind=kind, command=command, log=self._logs, env=env)

    def _dialled(self, node: Child) -> str:
        group, _, index = node.name.rpartition("-")
        advertised = self.config.nodes[group].advertise
        return ports.nth(advertised, int(index)) if advertised else ports.dialable(node.address)

    def _socket(self, name: str) -> str:
        assert self._folder is not None
        return f"unix:{self._folder / name}.sock"

    @property
    def _logs(self) -> Log:
        assert self._folder is not None
        return self._log or self._run_dir or self._folder

    def _of_kind(self, kind: Kind) -> list[Child]:
        return [child for child in self.children if child.kind == kind]


def taken_addresses(config: MeshConfig) -> list[tuple[str, str]]:
    """The keys of the configuration, each with an address, at which somebody else listens already."""
    router = config.router
    wanted = [("router.listen", router.listen)]
    wanted += [("router.admin", ports.nth(router.admin, k)) for k in range(router.processes)]
    for group, node in config.nodes.items():
        if node.listen:
            wanted += [(f"nodes.{group}.listen", ports.nth(node.listen, k)) for k in range(node.replicas)]
        if node.api:
            wanted += [(f"nodes.{group}.api", ports.nth(node.api, k)) for k in range(node.replicas)]
    return [(key, address) for key, address in wanted if ports.is_taken(address)]


def _forget_socket(address: str) -> None:
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).unlink(missing_ok=True)


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors
