"""A mesh in memory whose Sleep falls back as it is told to, and what listens to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from isochrone.answers import Kept
from isochrone.testing.mesh import LocalMesh
from isochrone.testing.models import ECHO, REPEAT, SLEEP, EchoModel, RepeatModel, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import virtual_clock
from isochrone_router.past import Past

MARGIN_S = 0.0005
SLA = {"objective_ms": 15, "deadline_ms": 100}
LAST_GOOD: dict[str, Any] = {"last_good": {"ttl_s": 300}}
STATIC: dict[str, Any] = {"static": {"message": {"body": "cG9wdWxhcg=="}}}
POPULAR = toy_pb2.ToyMessage(body=b"popular").SerializeToString()
OTHER: dict[str, Any] = {"route": ECHO}


def toy(body: bytes, **fields: Any) -> bytes:
    return toy_pb2.ToyMessage(body=body, **fields).SerializeToString()


class SlowStore:
    """AnswerStore in memory. Each look takes `look_s`; an age is told by how long a put was ago."""

    def __init__(self) -> None:
        self.look_s = 0.0005
        self.looks = self.puts = self.left = 0
        self._kept: dict[bytes, tuple[bytes, float]] = {}

    async def get(self, digest: bytes) -> Kept | None:
        self.looks += 1
        try:
            await asyncio.sleep(self.look_s)
        except asyncio.CancelledError:
            self.left += 1
            raise
        found = self._kept.get(digest)
        return None if found is None else Kept(found[0], asyncio.get_running_loop().time() - found[1])

    def put(self, digest: bytes, payload: bytes, *, ttl_s: float) -> None:
        self.puts += 1
        self._kept[digest] = (payload, asyncio.get_running_loop().time())

    async def run(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None: ...


class Told:
    """Listens to what is told of requests."""

    def __init__(self, mesh: LocalMesh) -> None:
        self.pasts: list[Past] = []
        mesh.router.chronicle._listeners = (*mesh.router.chronicle._listeners, self.pasts.append)

    @property
    def last(self) -> Past:
        return self.pasts[-1]


class Sleep:
    """What a toy sleeps by: `stuck_s` longer than anybody foresees."""

    def __init__(self) -> None:
        self.stuck_s = 0.0
        self._clock = virtual_clock()

    def __call__(self, seconds: float) -> None:
        self._clock.advance(seconds + self.stuck_s)


def mesh(
    *fallback: Mapping[str, Any],
    sleep: Sleep | None = None,
    store: SlowStore | None = None,
    routers: int = 1,
    **more: Any,
) -> LocalMesh:
    """Sleep falls back as it is told to, the others don't unless `more` says so."""
    sleeper = SleepModel(sleep_ms=5, batch_jobs=1, sleep=sleep or Sleep())
    routes = {ECHO: SLA, REPEAT: SLA, SLEEP: SLA | {"fallback": list(fallback)}} | more
    models = [EchoModel(), sleeper, RepeatModel()]
    return LocalMesh(models, routes=routes, answers=store, routers=routers)


async def lose_nodes(at: LocalMesh) -> None:
    for node in list(at.nodes):
        await at.kill_node(node)
    await asyncio.sleep(0.01)
