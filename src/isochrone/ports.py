"""Addresses as the configuration gives them: the next port for each replica, and whether one is taken."""

from __future__ import annotations

import errno
import socket


def nth(address: str, index: int) -> str:
    """The address of replica `index`: that many ports further, or the socket's path with a number."""
    if index == 0:
        return address
    if address.startswith("unix:"):
        return f"{address}.{index}"
    host, _, port = address.rpartition(":")
    return address if port == "0" else f"{host}:{int(port) + index}"


def beside(address: str) -> str:
    """Where a node that serves links at `address` has its own API, unless it is told: a socket next to that one, or
    a free port of the same host."""
    return f"{address}.api" if address.startswith("unix:") else f"{address.rpartition(':')[0]}:0"


def dialable(address: str) -> str:
    """The address as a client on this machine dials it: what listens everywhere is on the loopback too."""
    host, _, port = address.rpartition(":")
    if host == "0.0.0.0":
        return f"127.0.0.1:{port}"
    return f"[::1]:{port}" if host == "[::]" else address


def is_near(address: str) -> bool:
    """Whether only this machine can dial it."""
    host = address.rpartition(":")[0].strip("[]")
    return address.startswith(("unix:", "127.")) or host in ("localhost", "::1")


def is_taken(address: str) -> bool:
    """Whether another process listens there. Routers share a port among themselves and would not notice."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix:") or port == "0":
        return False
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections that linger after a close don't count; a listener does, SO_REUSEPORT or not.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def a_free_one() -> str:
    """An address on the loopback whose port nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"
