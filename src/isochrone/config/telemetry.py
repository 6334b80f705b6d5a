"""What is told of requests, and whom."""

from __future__ import annotations

import os

from pydantic import Field

from isochrone.config.fields import Section


class TelemetryConfig(Section):
    """What is told of requests afterwards, and whom."""

    otlp: str | None = Field(default=None, pattern=r"^https?://[^/]+/?$")
    """Where traces and metrics go, by OTLP over gRPC: "http://127.0.0.1:4317", https:// for TLS. Unset: the standard
    OTEL_EXPORTER_OTLP_ENDPOINT; without that, nowhere."""
    sample: float = Field(default=0.01, ge=0, le=1)
    """The fraction of requests that are traced, of those whose callers didn't decide. Such as miss their objective,
    fail, or were sent twice, are traced whatever was decided."""
    misses_per_s: float = Field(default=20, ge=0, le=1000)
    """At most so many of these a second; of more, the worst."""
    jaeger: str | None = Field(default=None, pattern=r"^https?://")
    """Where people look at traces, for links to them."""

    def endpoint(self) -> str | None:
        """Where to send them; None: nowhere."""
        return self.otlp or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None
