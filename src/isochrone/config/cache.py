"""Where last good answers are kept, apart from the lanes."""

from __future__ import annotations

import os
from urllib.parse import parse_qs, urlsplit

from pydantic import Field

from isochrone.config.fields import PositiveMs, RedisUrl
from isochrone.config.redis import RedisConfig


class CacheConfig(RedisConfig):
    """The Redis of last good answers: never the lanes' database, and best a server of its own. Its memory is to be
    bounded, with `maxmemory-policy allkeys-lru`, and the lanes' must never be."""

    url: RedisUrl = "embedded"
    """'embedded' starts one of its own beside the stack where a route has `last_good`; 'none' keeps answers in each
    router process alone. Environment: ISOCHRONE_CACHE_URL."""
    password_env: str = "ISOCHRONE_CACHE_PASSWORD"
    stall_ms: PositiveMs = 20
    """A look that takes longer than this has found nothing."""
    memory_bytes: int = Field(default=32 * 2**20, ge=0)
    """Answers that each router process keeps itself, the latest used."""
    answer_bytes: int = Field(default=256 * 1024, ge=0)
    """A larger one isn't kept."""

    def resolved_url(self) -> str:
        return os.environ.get("ISOCHRONE_CACHE_URL") or self.url


def database_of(url: str) -> tuple[str, int, str] | None:
    """Host, port and database, or a socket's path and database: alike for URLs of one database, as far as URLs tell;
    None for 'embedded', 'none', and what is no URL."""
    if url in ("embedded", "none"):
        return None
    parts = urlsplit(url)
    wanted = parse_qs(parts.query).get("db", [""])[0]
    if parts.scheme == "unix":
        return (parts.path, 0, wanted or "0")
    try:
        port = parts.port or 6379
    except ValueError:  # whoever connects says so, with its key
        return None
    host = (parts.hostname or "localhost").replace("127.0.0.1", "localhost").replace("::1", "localhost")
    return (host, port, wanted or parts.path.strip("/") or "0")
