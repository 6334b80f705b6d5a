"""Ranks candidates for a visitor, and does without rather than be late."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from isochrone import Client
from isochrone.client import User
from isochrone.errors import DeadlineExceeded, InvalidRequest, Overloaded, Unavailable

REQUEST = Path(__file__).parents[1] / "rank.json"


async def ranked(client: Client, visit: dict[str, Any], *, timeout_s: float) -> list[int]:
    """The items in the order to show them: the mesh's, or the given one where it has none in time."""
    item_ids: list[int] = visit["item_ids"]
    try:
        ranking = await client.rank(User(**visit["user"]), item_ids, top_k=visit.get("top_k", 0), timeout_s=timeout_s)
    except DeadlineExceeded as error:
        print(f"too late, its time went here: {error.budget}", file=sys.stderr)
        return item_ids
    except (Overloaded, Unavailable) as error:  # may_retry: a page that has the time may ask again
        print(f"not now: {error.reason}, {error}", file=sys.stderr)
        return item_ids
    if (budget := ranking.budget) is not None:
        print(budget)
        for stage, spent_ms in budget.stages.items():
            print(f"{stage:>12} {spent_ms:6.2f} ms")
    return list(ranking.item_ids)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="127.0.0.1:50051", help="a router's address")
    parser.add_argument("--request", type=Path, default=REQUEST, help="a RankRequest as JSON")
    parser.add_argument("--timeout-ms", type=float, default=100)
    args = parser.parse_args()
    visit = json.loads(args.request.read_text())
    async with Client(args.target) as client:  # one for the whole backend: its connections are shared
        try:
            print("show", *await ranked(client, visit, timeout_s=args.timeout_ms / 1e3))
        except InvalidRequest as error:  # ours to mend: it will not get better by itself
            sys.exit("\n".join(f"{wrong.field}: {wrong.description}" for wrong in error.violations) or str(error))


if __name__ == "__main__":
    asyncio.run(main())
