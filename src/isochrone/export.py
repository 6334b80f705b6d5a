"""What a process of the mesh sends to an OpenTelemetry collector, set up in one place; nothing where none is named."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping
from typing import Self

from opentelemetry.sdk.resources import Resource

from isochrone.errors import ConfigError
from isochrone.otlp import Collector, MetricExporter, SpanExporter
from isochrone.spans import Value, resource
from isochrone.telemetry import Read

METRICS_EVERY_S = 10.0


class Export:
    """A process's connection to its collector. `start` sends from then on; `close` gives what waits a last chance."""

    def __init__(
        self, endpoint: str, attributes: Mapping[str, Value], *, metrics_every_s: float = METRICS_EVERY_S
    ) -> None:
        self.attributes = dict(attributes)
        """Of its resource: who it is."""
        self._collector = Collector(endpoint)
        self.spans = SpanExporter(self._collector)
        self._metrics: MetricExporter | None = None
        self._metrics_every_s = metrics_every_s
        self._tasks: list[asyncio.Task[None]] = []

    @classmethod
    def of(cls, endpoint: str, *, service: str, name: str, mesh: str, device: str = "") -> Self:
        """Of a process of that name. Raises ConfigError for an interval that is none.

        The environment's OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME and OTEL_METRIC_EXPORT_INTERVAL (milliseconds) are
        heeded.
        """
        own = {
            "service.name": service,
            "service.instance.id": name,
            "host.name": socket.gethostname(),
            "isochrone.mesh": mesh,
        }
        if device:
            own["isochrone.device"] = device
        found = Resource.create(own).attributes
        return cls(
            endpoint,
            {key: value for key, value in found.items() if isinstance(value, Value)},
            metrics_every_s=_metrics_every_s(),
        )

    def __repr__(self) -> str:
        return f"<Export to {self._collector!r}, {self.spans!r}>"

    def start(self, read: Read) -> None:
        """`read` gives the process's metrics."""
        owner = resource(self.attributes)
        self._metrics = MetricExporter(self._collector, owner, read, every_s=self._metrics_every_s)
        self._tasks.append(asyncio.create_task(self.spans.run(), name="export spans"))
        self._tasks.append(asyncio.create_task(self._metrics.run(), name="export metrics"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        leaving = [self.spans.close()]
        if self._metrics is not None:
            leaving.append(self._metrics.close())
        await asyncio.gather(*leaving)
        await self._collector.close()


def _metrics_every_s() -> float:
    told = os.environ.get("OTEL_METRIC_EXPORT_INTERVAL")
    if not told:
        return METRICS_EVERY_S
    if not told.isdecimal() or not int(told):
        raise ConfigError(f"OTEL_METRIC_EXPORT_INTERVAL: should be milliseconds, such as 10000 (it is {told!r})")
    return int(told) / 1e3
