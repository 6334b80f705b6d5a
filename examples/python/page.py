"""A product page in one call: a ranking, what is on the photo, and a text about just that."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from google.protobuf.json_format import Parse

from isochrone import Client
from isochrone.client import Leg, LegChunk, LegResult, Outcome, Take
from isochrone.errors import IsochroneError
from isochrone.v1.llm_pb2 import CompleteResponse, GenerateChunk, GenerateRequest
from isochrone.v1.recsys_pb2 import RankRequest, RankResponse
from isochrone.v1.vision_pb2 import ClassifyRequest, ClassifyResponse

EXAMPLES = Path(__file__).parents[1]
# The likeliest label of the photo goes behind the prompt, before the text is begun.
LABEL_INTO_PROMPT = Take(
    "labels",
    field=ClassifyResponse.LABELS_FIELD_NUMBER,
    into=GenerateRequest.PROMPT_TAIL_FIELD_NUMBER,
    most=1,
)


def legs(ranking: RankRequest, photo: bytes, *, streamed: bool) -> dict[str, Leg]:
    """No page without a ranking; one without labels will do, and one in a single piece always has some text."""
    text = GenerateRequest(prompt="name: ", max_tokens=40)
    return {
        "ranking": Leg("isochrone.v1.Recsys/Rank", ranking, required=True),
        "labels": Leg("isochrone.v1.Vision/Classify", ClassifyRequest(image=photo, top_k=3), timeout_s=1),
        "text": Leg(
            "isochrone.v1.Llm/Generate" if streamed else "isochrone.v1.Llm/Complete",
            text,
            takes=[LABEL_INTO_PROMPT],
            fallback=None if streamed else CompleteResponse(text="See it for yourself."),
        ),
    }


def show(leg: LegResult) -> None:
    took = f"{leg.budget.total_ms:.1f} ms" if leg.budget is not None else "never begun"
    match leg.name, leg.outcome:
        case _, Outcome.MISSED:
            print(f"{leg.name}: none, {leg.error} ({took})")
        case "ranking", _:
            print(f"ranking: {list(RankResponse.FromString(leg.payload).item_ids)} ({took})")
        case "labels", _:
            print(f"labels: {', '.join(ClassifyResponse.FromString(leg.payload).labels)} ({took})")
        case "text", _ if leg.payload:
            print(f"text: {CompleteResponse.FromString(leg.payload).text.strip()} ({leg.outcome}, {took})")
        case "text", _:  # its words came as chunks
            print(f"\ntext: done ({took})")


async def answer(client: Client, wanted: dict[str, Leg], *, timeout_s: float, streamed: bool) -> None:
    if not streamed:
        page = await client.fan_out(wanted, timeout_s=timeout_s)
        for leg in page.legs.values():
            show(leg)
        return
    async for part in client.fan_out_stream(wanted, timeout_s=timeout_s):
        if isinstance(part, LegChunk):
            print(GenerateChunk.FromString(part.payload).text, end="", flush=True)
        else:
            show(part)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="127.0.0.1:50051", help="a router's address")
    parser.add_argument("--request", type=Path, default=EXAMPLES / "rank.json", help="a RankRequest as JSON")
    parser.add_argument("--photo", type=Path, default=EXAMPLES / "mug.jpg", help="a JPEG, PNG or WebP file")
    parser.add_argument("--timeout-ms", type=float, default=5_000, help="of the whole page")
    parser.add_argument("--stream", action="store_true", help="show each leg as it ends, and the text as it is made")
    args = parser.parse_args()
    wanted = legs(Parse(args.request.read_text(), RankRequest()), args.photo.read_bytes(), streamed=args.stream)
    async with Client(args.target) as client:
        try:
            await answer(client, wanted, timeout_s=args.timeout_ms / 1e3, streamed=args.stream)
        except IsochroneError as error:  # of the leg that is required: it is named
            raise SystemExit(f"{error.reason}: {error}") from None


if __name__ == "__main__":
    asyncio.run(main())
