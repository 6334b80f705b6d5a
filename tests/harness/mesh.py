"""A mesh of real processes with toy models, and what its router says of itself."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from isochrone.child import Child
from isochrone.client import Client
from isochrone.client.transport import MAX_MESSAGE_BYTES
from isochrone.config import load_config
from isochrone.stack import Stack
from isochrone.testing.journal import Journal
from isochrone.testing.models import ECHO, REPEAT, SLEEP

from .parts import MESH, SLEEP_LANE, RedisServer, Status, until

ONE_BY_ONE = {"batch_jobs": 1, "max_units": 1}
"""Options of toys that sleep for long, each request by itself: a node warms up with every size of batch there is."""
PATIENT = {"objective_ms": 10_000, "deadline_ms": 20_000}
"""Of routes whose requests wait for seconds beside a flood, on cores that others share, or that quotas alone refuse."""


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
        "routes": {
            ECHO: sla | {"lanes": ["echo@cpu"]},
            SLEEP: sla | {"lanes": [SLEEP_LANE]},
            REPEAT: sla | {"deadline_ms": 60_000, "lanes": ["repeat@cpu"]},
        },
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
    # Reading the system's certificates is a sixth of what a router's start takes, and nothing here talks to the world.
    env = {"SSL_CERT_FILE": os.devnull} | (env or {})
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
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
