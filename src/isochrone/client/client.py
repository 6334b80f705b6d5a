"""The asyncio client of the mesh."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TypeVar, Unpack

import grpc

from isochrone.client.endpoint import Endpoint
from isochrone.client.page import (
    FAN_OUT,
    FAN_OUT_STREAM,
    Leg,
    LegChunk,
    LegResult,
    Page,
    fan_out_request,
    leg_part_of,
    page_of,
)
from isochrone.client.ranking import RANK, Ranking, User, rank_request, ranking_of
from isochrone.client.sessions import SessionTransport
from isochrone.client.stream import ChunkStream
from isochrone.client.text import (
    COMPLETE,
    GENERATE,
    Completion,
    TextChunk,
    completion_of,
    text_chunk_of,
    text_request,
)
from isochrone.client.tls import Tls
from isochrone.client.transport import MAX_MESSAGE_BYTES, Answer, Options, Tier, Transport, new_request
from isochrone.client.vision import (
    CLASSIFY,
    EMBED,
    Embedding,
    Labels,
    classify_request,
    embed_request,
    embedding_of,
    labels_of,
)
from isochrone.v1 import recsys_pb2

T = TypeVar("T")


class Client:
    """Calls a router, or a node: both speak every service's API. Belongs to one event loop.

    Every failure is one of isochrone.errors, with a `budget` that may be None; `may_retry` on it says whether
    the same request may be sent again. Cancelling a waiting task cancels its request in the mesh.

    Every call takes Options: `timeout_s`, its deadline from now, in the place of the route's where it is shorter;
    `variant`, the model variant that must answer; `tier`, "gold", "standard" or "batch". Where OpenTelemetry traces
    the caller, the mesh is told its current span.
    """

    def __init__(
        self,
        target: str | Sequence[str] = "127.0.0.1:50051",
        *,
        timeout_s: float = 10.0,
        sessions: int = 2,
        tls: Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        transport: Transport | None = None,
    ) -> None:
        """`target` is a router's address, or several. `timeout_s` is for calls that give none: without one, a silent
        network would hold them for ever. `tls` says whom to believe and what to show; True: the usual CAs, and nothing.
        `credentials` are gRPC's own, in its place. Raises ConfigError for certificates that can't be used.

        `token` shows the mesh who calls, where it has callers configured. Without TLS, whoever is on the way can read
        it.

        Requests travel on `sessions` streams to each address; with 0, as an RPC each. `transport` replaces all
        of that, and then nothing but it says where requests go.
        """
        targets = [target] if isinstance(target, str) else target
        endpoints = Endpoint.of(
            targets, credentials=credentials, tls=tls, max_message_bytes=max_message_bytes, token=token
        )
        self._transport = transport or SessionTransport(endpoints, sessions=sessions)
        self._timeout_s = timeout_s

    async def rank(
        self,
        user: User | recsys_pb2.User,
        item_ids: Iterable[int],
        *,
        top_k: int = 0,
        **options: Unpack[Options],
    ) -> Ranking:
        """Ranks 1 to 1,000 candidate items for a user; `top_k` 0 returns all. Errors as for `call`."""
        return ranking_of(await self.call(RANK, rank_request(user, item_ids, top_k=top_k), **options))

    async def classify(self, image: bytes, *, top_k: int = 0, **options: Unpack[Options]) -> Labels:
        """Names the kind of goods on a photo, a JPEG, PNG or WebP file; `top_k` 0 returns all. Errors as for `call`."""
        return labels_of(await self.call(CLASSIFY, classify_request(image, top_k=top_k), **options))

    async def embed(self, image: bytes, **options: Unpack[Options]) -> Embedding:
        """Gives a photo its place among all photos. Errors as for `call`."""
        return embedding_of(await self.call(EMBED, embed_request(image), **options))

    async def complete(
        self,
        prompt: str,
        *,
        max_tokens: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Iterable[str] = (),
        seed: int = 0,
        **options: Unpack[Options],
    ) -> Completion:
        """Goes on from a prompt, and returns the whole text. Errors as for `call`.

        `max_tokens` 0 is the model's default. `temperature` 0 takes the likeliest token each time; over 0, `top_p`
        and `top_k` bound the choice (1 and 0: not at all), and `seed` decides it. The text ends before the first of
        the `stop` strings.
        """
        request = text_request(
            prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, stop=stop, seed=seed
        )
        return completion_of(await self.call(COMPLETE, request, **options))

    def generate(
        self,
        prompt: str,
        *,
        max_tokens: int = 0,
        temperature: float = 0.0,
        top_p: float = 1.0,
        top_k: int = 0,
        stop: Iterable[str] = (),
        seed: int = 0,
        **options: Unpack[Options],
    ) -> ChunkStream[TextChunk]:
        """As `complete`, the text as it is made; the last chunk says why it ends."""
        request = text_request(
            prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, stop=stop, seed=seed
        )
        return self._stream(GENERATE, request, text_chunk_of, options)

    async def call(self, route: str, request: bytes, **options: Unpack[Options]) -> Answer:
        """Sends an encoded request to a route, "isochrone.v1.Recsys/Rank", and returns the answer's bytes.

        Raises isochrone.errors for what the mesh refused, ValueError or TypeError for arguments that can't be
        sent, RuntimeError once the client is closed.
        """
        return (await self._transport.exchange(new_request(route, request, self._timeout_s, **options))).opened()

    def stream(self, route: str, request: bytes, **options: Unpack[Options]) -> ChunkStream[bytes]:
        """Sends an encoded request to a route whose answer streams, and gives its chunks as they come. Errors as for
        `call`; those of the mesh after the chunks that had arrived."""
        return self._stream(route, request, bytes, options)

    async def fan_out(
        self, legs: Mapping[str, Leg], *, timeout_s: float | None = None, tier: Tier | None = None
    ) -> Page:
        """Several requests in one call, answered by its deadline with what has arrived. Raises the error of a leg that
        is required and has no answer; what became of the others is in the page."""
        return page_of(await self.call(FAN_OUT, fan_out_request(legs), timeout_s=timeout_s, tier=tier))

    def fan_out_stream(
        self, legs: Mapping[str, Leg], *, timeout_s: float | None = None, tier: Tier | None = None
    ) -> ChunkStream[LegResult | LegChunk]:
        """As `fan_out`, each leg as it ends; the answers of those that stream come in LegChunks before that."""
        options = Options(timeout_s=timeout_s, tier=tier)
        return self._stream(FAN_OUT_STREAM, fan_out_request(legs), leg_part_of, options)

    async def close(self, *, grace_s: float = 1.0) -> None:
        """Lets requests under way finish for that long, then ends them with Cancelled."""
        await self._transport.close(grace_s=grace_s)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def _stream(self, route: str, request: bytes, decoded: Callable[[bytes], T], options: Options) -> ChunkStream[T]:
        return ChunkStream(self._transport.stream(new_request(route, request, self._timeout_s, **options)), decoded)

    def __repr__(self) -> str:
        return f"Client({self._transport!r})"
