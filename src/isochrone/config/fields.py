"""What sections and values of the configuration are made of."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_ROUTE = re.compile(r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*/[A-Za-z_]\w*$")
_LANE = re.compile(r"^[\w.-]+@[\w-]+$")
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")
DEVICE = r"^[a-z0-9-]+$"
_ADDRESS = re.compile(r"^(unix:.+|(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5})$")


def matching(pattern: re.Pattern[str], example: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"should look like {example!r}")
        return value

    return AfterValidator(check)


def _redis_url(value: str) -> str:
    if value not in ("embedded", "none") and urlsplit(value).scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            "should be 'embedded', 'none', or a URL: redis://host:6379/0, rediss://…, unix:///run/redis.sock"
        )
    return value


def without_password(url: str) -> str:
    """The URL with what stands before its last @ hidden, but for the user's name; anything else as it is."""
    scheme, found, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    return f"{scheme}{found}{credentials.partition(':')[0]}:…@{place}" if at else url


Name = Annotated[str, matching(_NAME, "recsys-a")]
RouteName = Annotated[str, matching(_ROUTE, "isochrone.v1.Recsys/Rank")]
LaneName = Annotated[str, matching(_LANE, "ranker.fp32@cpu")]
Address = Annotated[str, matching(_ADDRESS, "127.0.0.1:50051")]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
PositiveMs = Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
