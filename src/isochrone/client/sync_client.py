"""The client for threads that block: the same as the asyncio one but for the awaiting."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType

import grpc

from isochrone.client.endpoint import Endpoint
from isochrone.client.page import FAN_OUT, Leg, Page, fan_out_request, page_of
from isochrone.client.ranking import RANK, Ranking, User, rank_request, ranking_of
from isochrone.client.transport import MAX_MESSAGE_BYTES, Answer, Request, SyncTransport
from isochrone.client.unary import SyncUnaryTransport
from isochrone.v1 import recsys_pb2


class SyncClient:
    """Calls a router, or a node; one may be shared by many threads. Errors are those of `Client`."""

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        timeout_s: float = 10.0,
        credentials: grpc.ChannelCredentials | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        transport: SyncTransport | None = None,
    ) -> None:
        """As for `Client`. Never use it in a process that forks afterwards: gRPC does not survive that."""
        self._transport = transport or SyncUnaryTransport(Endpoint(target, credentials, max_message_bytes))
        self._timeout_s = timeout_s

    def rank(
        self,
        user: User | recsys_pb2.User,
        item_ids: Iterable[int],
        *,
        top_k: int = 0,
        timeout_s: float | None = None,
        variant: str | None = None,
    ) -> Ranking:
        """As `Client.rank`, but blocks."""
        request = rank_request(user, item_ids, top_k=top_k)
        return ranking_of(self.call(RANK, request, timeout_s=timeout_s, variant=variant))

    def call(self, route: str, request: bytes, *, timeout_s: float | None = None, variant: str | None = None) -> Answer:
        """As `Client.call`, but blocks."""
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        return self._transport.exchange(Request(route, request, timeout_s, variant)).opened()

    def fan_out(self, legs: Mapping[str, Leg], *, timeout_s: float | None = None) -> Page:
        """As `Client.fan_out`, but blocks."""
        return page_of(self.call(FAN_OUT, fan_out_request(legs), timeout_s=timeout_s))

    def close(self) -> None:
        """Ends requests under way with Cancelled."""
        self._transport.close()

    def __enter__(self) -> SyncClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SyncClient({self._transport!r})"
