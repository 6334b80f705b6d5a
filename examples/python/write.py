"""Writes a blurb about a product, and shows it word by word as it is made."""

from __future__ import annotations

import argparse
import asyncio

from isochrone import Client
from isochrone.client import Finish
from isochrone.errors import IsochroneError


async def write(client: Client, prompt: str, *, temperature: float, seed: int, timeout_s: float) -> None:
    # Leaving the block ends the text in the mesh, wherever it is: on Ctrl-C, say. Nobody pays for words unread.
    async with client.generate(prompt, temperature=temperature, seed=seed, timeout_s=timeout_s) as text:
        async for chunk in text:
            print(chunk.text, end="", flush=True)
            match chunk.finish:
                case Finish.LENGTH:
                    print(" … (as long as it may be)", end="")
                case Finish.DEADLINE:
                    print(" … (time is up)", end="")
    print()
    if (budget := text.budget) is not None:
        print(f"first words after {budget.first_ms:.0f} ms, all {budget.chunks} chunks after {budget.total_ms:.0f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="127.0.0.1:50051", help="a router's address")
    parser.add_argument("--prompt", default="name: mug | material: stoneware | colour: blue")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest word each time")
    parser.add_argument("--seed", type=int, default=0, help="with a temperature: the same seed, the same text")
    parser.add_argument("--timeout-ms", type=float, default=10_000)
    args = parser.parse_args()
    async with Client(args.target) as client:
        try:
            timeout_s = args.timeout_ms / 1e3
            await write(client, args.prompt, temperature=args.temperature, seed=args.seed, timeout_s=timeout_s)
        except IsochroneError as error:  # after the words that were there before it
            raise SystemExit(f"\n{error.reason}: {error}") from None


if __name__ == "__main__":
    asyncio.run(main())
