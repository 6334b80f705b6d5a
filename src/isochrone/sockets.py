"""TCP and Unix sockets by the addresses of the configuration, and noticing when the other machine is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import TypeVar

_P = TypeVar("_P", bound=asyncio.Protocol)

_SILENCE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, option), value)
        for option, value in {
            "TCP_KEEPIDLE": 5,
            "TCP_KEEPINTVL": 2,
            "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": 10_000,  # keep-alives are not sent while data waits to be acknowledged
        }.items()
        if hasattr(socket, option)  # as on Linux
    ),
]


async def connect(address: str, new: Callable[[], _P]) -> _P:
    """Connects to "host:port" or "unix:path". Raises OSError."""
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        _, protocol = await loop.create_unix_connection(new, address.removeprefix("unix:"))
    else:
        _, protocol = await loop.create_connection(new, *_host_and_port(address))
    return protocol


async def serve(address: str, new: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    """Listens at "host:port" or "unix:path", in place of a socket that a killed process has left there.
    Raises OSError."""
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        return await loop.create_unix_server(new, address.removeprefix("unix:"))
    return await loop.create_server(new, *_host_and_port(address))


def bound(server: asyncio.Server, address: str) -> str:
    """The address with the port that was really taken."""
    if address.startswith("unix:"):
        return address
    return f"{address.rpartition(':')[0]}:{server.sockets[0].getsockname()[1]}"


def notice_silence(transport: asyncio.BaseTransport) -> None:
    """A connection over TCP is lost some ten seconds after its other end has vanished without a word."""
    peer = transport.get_extra_info("socket")
    if peer is not None and peer.family != socket.AF_UNIX:
        for option in _SILENCE:
            peer.setsockopt(*option)


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)
