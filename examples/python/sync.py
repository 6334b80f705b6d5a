"""Ranks and classifies from threads that block: a backend without asyncio shares one client among them."""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from isochrone import SyncClient
from isochrone.client import Labels, Ranking, User

EXAMPLES = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="127.0.0.1:50051", help="a router's address")
    parser.add_argument("--request", type=Path, default=EXAMPLES / "rank.json", help="a RankRequest as JSON")
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "mug.jpg", help="a JPEG, PNG or WebP file")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--timeout-ms", type=float, default=1_000)
    args = parser.parse_args()
    visit = json.loads(args.request.read_text())
    user, photo, timeout_s = User(**visit["user"]), args.photo.read_bytes(), args.timeout_ms / 1e3

    # In a server that forks its workers, each makes its own client after the fork.
    with SyncClient(args.target) as client, ThreadPoolExecutor(args.threads) as threads:

        def rank(item_ids: list[int]) -> Ranking:
            return client.rank(user, item_ids, timeout_s=timeout_s)

        def classify(_: int) -> Labels:
            return client.classify(photo, top_k=1, timeout_s=timeout_s)

        shelves = [visit["item_ids"][n:] for n in range(args.threads)]
        rankings, photos = threads.map(rank, shelves), threads.map(classify, range(args.threads))
        for ranking in rankings:
            print("best", ranking.item_ids[0], ranking.budget)
        for labels in photos:
            print("photo", labels.labels[0], labels.budget)
        print("text", client.complete("name: mug | colour: blue", timeout_s=10).text.strip())


if __name__ == "__main__":
    main()
