"""Callers for tests, with tokens that were made for this run, and what becomes of their requests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from isochrone.child import Child
from isochrone.client import Client
from isochrone.credentials import hash_of, new_token
from isochrone.errors import IsochroneError
from isochrone.testing.models import ECHO
from isochrone.testing.v1 import toy_pb2

from .parts import Status

TOKENS = {name: new_token() for name in ("shop", "batch", "none", "few", "slow", "ample")}
CALLERS: dict[str, Any] = {
    "shop": {"tokens": [hash_of(TOKENS["shop"])], "tiers": ["gold", "standard"]},
    "batch": {"tokens": [hash_of(TOKENS["batch"])], "tiers": ["batch"]},
    "none": {"tokens": [hash_of(TOKENS["none"])], "rate_per_s": 0},
    "few": {"tokens": [hash_of(TOKENS["few"])], "concurrency": 2},
    "slow": {"tokens": [hash_of(TOKENS["slow"])], "rate_per_s": 0.01, "burst": 20},
    "ample": {"tokens": [hash_of(TOKENS["ample"])], "rate_per_s": 100_000, "concurrency": 1000},
}
BODY = toy_pb2.ToyMessage(units=1, body=b"body").SerializeToString()


@asynccontextmanager
async def client_of(router: Child, caller: str | None, **more: Any) -> AsyncIterator[Client]:
    """A client that shows a caller's token, or none."""
    token = None if caller is None else TOKENS[caller]
    async with Client(router.address, token=token, **more) as client:
        yield client


async def outcome(client: Client, route: str = ECHO, **options: Any) -> str:
    """Of a request: "OK", or the reason of the refusal."""
    try:
        await client.call(route, BODY, **options)
    except IsochroneError as error:
        return error.reason if error.budget is not None else f"{error.reason}, without a budget"
    return "OK"


def write_callers(path: Path, callers: dict[str, Any]) -> None:
    """As `router.callers_file` has them."""
    path.write_text(yaml.safe_dump({"callers": callers}))


def in_use(status: Status, caller: str) -> float:
    """How many requests of a caller are under way at a router, by its status."""
    [one] = [one for one in status["callers"] if one["caller"] == caller]
    return float(one["quotas"]["concurrency"]["used"])


def shares(status: Status) -> bool:
    """Whether a router settles with the others, by its status."""
    return all(one["shared"] for one in status["callers"])
