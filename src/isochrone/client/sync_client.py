"""The client for threads that block: the same as the asyncio one but for the awaiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
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
from isochrone.client.stream import SyncChunkStream
from isochrone.client.sync_unary import SyncUnaryTransport
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
from isochrone.client.transport import MAX_MESSAGE_BYTES, Answer, Options, SyncTransport, Tier, new_request
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


class SyncClient:
    """Calls a router, or a node; one may be shared by many threads. Errors are those of `Client`."""

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        timeout_s: float = 10.0,
        tls: Tls | bool = False,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        transport: SyncTransport | None = None,
    ) -> None:
        """As for `Client`. Never use it in a process that forks afterwards: gRPC does not survive that."""
        (endpoint,) = Endpoint.of(
            [target], credentials=credentials, tls=tls, max_message_bytes=max_message_bytes, token=token
        )
        self._transport = transport or SyncUnaryTransport(endpoint)
        self._timeout_s = timeout_s

    def rank(
        self,
        user: User | recsys_pb2.User,
        item_ids: Iterable[int],
        *,
        top_k: int = 0,
        **options: Unpack[Options],
    ) -> Ranking:
        """As `Client.rank`, but blocks."""
        return ranking_of(self.call(RANK, rank_request(user, item_ids, top_k=top_k), **options))

    def classify(self, image: bytes, *, top_k: int = 0, **options: Unpack[Options]) -> Labels:
        """As `Client.classify`, but blocks."""
        return labels_of(self.call(CLASSIFY, classify_request(image, top_k=top_k), **options))

    def embed(self, image: bytes, **options: Unpack[Options]) -> Embedding:
        """As `Client.embed`, but blocks."""
        return embedding_of(self.call(EMBED, embed_request(image), **options))

    def complete(
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
        """As `Client.complete`, but blocks."""
        request = text_request(
            prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, stop=stop, seed=seed
        )
        return completion_of(self.call(COMPLETE, request, **options))

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
    ) -> SyncChunkStream[TextChunk]:
        """As `Client.generate`, but an iterator that blocks."""
        request = text_request(
            prompt, max_tokens=max_tokens, temperature=temperature, top_p=top_p, top_k=top_k, stop=stop, seed=seed
        )
        return self._stream(GENERATE, request, text_chunk_of, options)

    def call(self, route: str, request: bytes, **options: Unpack[Options]) -> Answer:
        """As `Client.call`, but blocks."""
        return self._transport.exchange(new_request(route, request, self._timeout_s, **options)).opened()

    def stream(self, route: str, request: bytes, **options: Unpack[Options]) -> SyncChunkStream[bytes]:
        """As `Client.stream`, but an iterator that blocks."""
        return self._stream(route, request, bytes, options)

    def fan_out(self, legs: Mapping[str, Leg], *, timeout_s: float | None = None, tier: Tier | None = None) -> Page:
        """As `Client.fan_out`, but blocks."""
        return page_of(self.call(FAN_OUT, fan_out_request(legs), timeout_s=timeout_s, tier=tier))

    def fan_out_stream(
        self, legs: Mapping[str, Leg], *, timeout_s: float | None = None, tier: Tier | None = None
    ) -> SyncChunkStream[LegResult | LegChunk]:
        """As `Client.fan_out_stream`, but an iterator that blocks."""
        options = Options(timeout_s=timeout_s, tier=tier)
        return self._stream(FAN_OUT_STREAM, fan_out_request(legs), leg_part_of, options)

    def close(self) -> None:
        """Ends requests under way with Cancelled."""
        self._transport.close()

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(
        self, route: str, request: bytes, decoded: Callable[[bytes], T], options: Options
    ) -> SyncChunkStream[T]:
        return SyncChunkStream(self._transport.stream(new_request(route, request, self._timeout_s, **options)), decoded)

    def __repr__(self) -> str:
        return f"SyncClient({self._transport!r})"
