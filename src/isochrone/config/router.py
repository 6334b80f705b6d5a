"""The router process, and what it may take in."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from isochrone.config.fields import Address, Name, PositiveMs, Section
from isochrone.config.tls import ServerTls


class LimitsConfig(Section):
    """Caps, all kept by refusing what comes past them."""

    inflight: int = Field(default=4096, ge=1)
    """Requests one router process owns at once."""
    inflight_bytes: int = Field(default=256 * 2**20, ge=2**16)
    """Request bytes one router process holds at once."""
    lane_jobs: int = Field(default=2048, ge=1)
    """Jobs waiting in one lane, of all routers."""
    request_bytes: int = Field(default=8 * 2**20, ge=1024)
    """The largest request."""
    inline_bytes: int = Field(default=32 * 1024, ge=0)
    """Requests up to this size ride in the lane; larger ones are fetched over the link when claimed."""


class RouterConfig(Section):
    """A router process, or several on one port."""

    name: Name = "router"
    listen: Address = "127.0.0.1:50051"
    tls: ServerTls | None = None
    """TLS at `listen`; unset: none. A Unix socket has none either way."""
    admin: Address = "127.0.0.1:8080"
    """HTTP: the console at /, /healthz, /readyz, /metrics, /status, /misses, /traces/<id>. Of several processes each
    takes the next port; the console of each shows all."""
    admin_tls: ServerTls | None = None
    """HTTPS at `admin`, and who may read there: whoever has a certificate of its `client_ca`, where that is asked for.
    Unset: plain HTTP for whoever reaches it."""
    processes: int = Field(default=1, ge=1, le=64)
    nodes: tuple[Address, ...] = ()
    """Nodes to link besides those found in the registry: all there are, without Redis."""
    limits: LimitsConfig = LimitsConfig()
    answer_margin_ms: PositiveMs = 0.5
    """An answer leaves at least this long before the caller's deadline, more where the process is slow."""
    linger_ms: float = Field(default=10.0, ge=0, le=50, allow_inf_nan=False)
    """While jobs of this router wait in a lane unclaimed, or it is short of CPU, the next wait so long for company,
    and at most a fifth of their objective. Otherwise a job goes at once."""
    extra_attempts: float = Field(default=0.05, ge=0, le=1)
    """Second attempts allowed, as a fraction of the requests; up to 256 are saved for a node's death. 0: none."""
    callers_file: Path | None = None
    """More callers, in a file with a `callers:` section alone, from the working directory. It is read again when it
    changes and on SIGHUP, so a token can be taken back while its clients are connected."""
    drain_s: float = Field(default=10, gt=0, le=600)

    @property
    def admin_scheme(self) -> str:
        """Of the URLs at `admin`."""
        return "http" if self.admin_tls is None or self.admin.startswith("unix:") else "https"

    def process_name(self, index: int) -> str:
        """Of one of the processes, as it names itself."""
        return self.name if self.processes == 1 else f"{self.name}-{index}"
