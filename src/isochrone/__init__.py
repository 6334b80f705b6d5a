"""A gRPC inference mesh that keeps its latency promises; from here, what a caller needs: its clients.

They are imported on first use, so that a process of the mesh that imports one module pays for that one alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isochrone.client import Client, SyncClient

__all__ = ["Client", "SyncClient"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from isochrone import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
