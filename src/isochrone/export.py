"""What a process of the mesh sends to an OpenTelemetry collector, set up in one place; nothing where none is named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

from isochrone.config import MeshConfig
from isochrone.otlp import Collector, SpanExporter
from isochrone.spans import Value


class Export:
    """A process's connection to its collector. `start` sends from then on; `close` gives what waits a last chance."""

    def __init__(self, endpoint: str, attributes: Mapping[str, Value]) -> None:
        self.attributes = dict(attributes)
        """Of its resource: who it is."""
        self._collector = Collector(endpoint)
        self.spans = SpanExporter(self._collector)
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Export to {self._collector!r}, {self.spans!r}>"

    def start(self) -> None:
        self._tasks.append(asyncio.create_task(self.spans.run(), name="export spans"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.spans.close()
        await self._collector.close()


def export_of(config: MeshConfig, *, service: str, name: str, **more: Value) -> Export | None:
    """Where the configuration or the environment names a collector. Inside a running event loop.

    The environment's OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME are heeded.
    """
    endpoint = config.telemetry.endpoint()
    if endpoint is None:
        return None
    from opentelemetry.sdk.resources import Resource  # a tenth of a second, for those who want it

    own: dict[str, Any] = {
        "service.name": service,
        "service.instance.id": name,
        "host.name": socket.gethostname(),
        "isochrone.mesh": config.mesh,
        **more,
    }
    resource = Resource.create(own)
    return Export(endpoint, {key: value for key, value in resource.attributes.items() if isinstance(value, Value)})
