"""Where the lanes and the registry live."""

from __future__ import annotations

import os
from pathlib import Path

from isochrone.config.fields import PositiveMs, RedisUrl, Section


class RedisConfig(Section):
    """Where the lanes and the registry live."""

    url: RedisUrl = "embedded"
    """'embedded' starts one beside the stack, 'none' goes without. Environment: ISOCHRONE_REDIS_URL."""
    username: str | None = None
    password_env: str = "ISOCHRONE_REDIS_PASSWORD"
    """The environment variable that holds the password; a password in the URL works too."""
    ca_file: Path | None = None
    """Trust for rediss://; the system's where unset."""
    stall_ms: PositiveMs = 50
    """A lane operation that takes longer than this has the router go on over the links alone."""

    def resolved_url(self) -> str:
        return os.environ.get("ISOCHRONE_REDIS_URL") or self.url
