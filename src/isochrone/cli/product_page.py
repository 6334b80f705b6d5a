"""A product page as one fan-out: a ranking, a photo's labels, and a text about what is on the photo."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import Message

from isochrone.client import Client, Leg, LegChunk, LegResult, Outcome, Take
from isochrone.v1.llm_pb2 import GenerateChunk, GenerateRequest
from isochrone.v1.recsys_pb2 import RankRequest, RankResponse
from isochrone.v1.vision_pb2 import ClassifyRequest, ClassifyResponse, EmbedRequest, EmbedResponse

RANK = "isochrone.v1.Recsys/Rank"
CLASSIFY = "isochrone.v1.Vision/Classify"
EMBED = "isochrone.v1.Vision/Embed"
GENERATE = "isochrone.v1.Llm/Generate"

_LABELS = ClassifyResponse.DESCRIPTOR.fields_by_name["labels"].number
_TAIL = GenerateRequest.DESCRIPTOR.fields_by_name["prompt_tail"].number
_WORDS = 60


@dataclass(slots=True)
class PageSoFar:
    """What has come of a page."""

    legs: Mapping[str, Leg]
    ranking: RankResponse | None = None
    labels: ClassifyResponse | None = None
    embedding: EmbedResponse | None = None
    text: str = ""
    ended: dict[str, LegResult] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every leg has an answer, its own or what stands in."""
        return len(self.ended) == len(self.legs) and Outcome.MISSED not in {leg.outcome for leg in self.ended.values()}

    def began_ms(self, name: str) -> float:
        """When a leg began, from the beginning of the page: those that take from others wait for them."""
        waits_for = [self.ended[take.leg] for take in self.legs[name].takes if take.leg in self.ended]
        ends = [self.began_ms(leg.name) + leg.budget.total_ms for leg in waits_for if leg.budget is not None]
        return max(ends, default=0.0)

    def take(self, part: LegResult | LegChunk) -> None:
        """What comes next."""
        if isinstance(part, LegChunk):
            self.text += GenerateChunk.FromString(part.payload).text
            return
        self.ended[part.name] = part
        if part.outcome is Outcome.MISSED:
            return
        match part.name:
            case "ranking":
                self.ranking = RankResponse.FromString(part.payload)
            case "labels":
                self.labels = ClassifyResponse.FromString(part.payload)
            case "embedding":
                self.embedding = EmbedResponse.FromString(part.payload)


def page_legs(
    routes: Collection[str], *, ranking: RankRequest, image: bytes | None, prompt: str | None = None
) -> dict[str, Leg]:
    """The legs that those routes can answer. Without a `prompt`, the text is about what is on the photo."""
    wanted: dict[str, tuple[str, Message]] = {"ranking": (RANK, ranking)}
    if image is not None:
        wanted["labels"] = (CLASSIFY, ClassifyRequest(image=image, top_k=3))
        wanted["embedding"] = (EMBED, EmbedRequest(image=image))
    legs = {name: Leg(route, request) for name, (route, request) in wanted.items() if route in routes}
    if GENERATE in routes and prompt is not None:
        legs["text"] = Leg(GENERATE, GenerateRequest(prompt=prompt, max_tokens=_WORDS))
    elif GENERATE in routes and "labels" in legs:
        request = GenerateRequest(prompt="name: ", max_tokens=_WORDS)
        legs["text"] = Leg(GENERATE, request, takes=[Take("labels", field=_LABELS, into=_TAIL, most=1)])
    return legs


async def turn(client: Client, legs: Mapping[str, Leg], *, timeout_s: float | None = None) -> PageSoFar:
    """The whole page, with nobody watching. Raises isochrone.errors."""
    page = PageSoFar(legs)
    async for part in client.fan_out_stream(legs, timeout_s=timeout_s):
        page.take(part)
    return page
