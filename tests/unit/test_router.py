"""A router process as it starts: over real gRPC and HTTP, without nodes."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from isochrone.client import Client
from isochrone.config import MeshConfig
from isochrone.embedded import private_folder
from isochrone.errors import ConfigError, Unavailable
from isochrone_router import router as router_module
from isochrone_router.router import Router

ECHO = "isochrone.testing.v1.Toy/Echo"


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setattr(router_module, "FIRST_NODE_S", 0.01)
    folder = private_folder()
    yield folder
    shutil.rmtree(folder)


def config(folder: Path, *, admin: str = "127.0.0.1:0") -> MeshConfig:
    return MeshConfig.model_validate(
        {
            "redis": {"url": "none"},
            "router": {"listen": f"unix:{folder}/router", "admin": admin},
            "routes": {ECHO: {"objective_ms": 5, "deadline_ms": 50, "lanes": ["echo@cpu"]}},
        }
    )


async def test_a_router_serves_before_there_is_a_node(folder: Path) -> None:
    """It waits a while for the first, and then says that there is none."""
    router = Router(config(folder))
    await router.start()
    client = Client(router.address)
    with pytest.raises(Unavailable) as caught:
        await client.call(ECHO, b"", timeout_s=5.0)
    assert caught.value.reason == "NO_NODE"
    await client.close()
    await router.drain(1.0)
    assert len(asyncio.all_tasks()) == 1


async def test_an_admin_port_that_is_taken_is_a_mistake_in_the_configuration(folder: Path) -> None:
    """Said with its key, and with nothing left running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        router = Router(config(folder, admin=f"127.0.0.1:{taken.getsockname()[1]}"))
        with pytest.raises(ConfigError, match=r"router\.admin: can't listen on"):
            await router.start()
    assert len(asyncio.all_tasks()) == 1
