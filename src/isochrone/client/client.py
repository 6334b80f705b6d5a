"""The asyncio client of the mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType

import grpc

from isochrone.client.endpoint import Endpoint
from isochrone.client.page import FAN_OUT, Leg, Page, fan_out_request, page_of
from isochrone.client.ranking import RANK, Ranking, User, rank_request, ranking_of
from isochrone.client.sessions import SessionTransport
from isochrone.client.transport import MAX_MESSAGE_BYTES, Answer, Request, Transport
from isochrone.v1 import recsys_pb2


class Client:
    """Calls a router, or a node: both speak every service's API. Belongs to one event loop.

    Every failure is one of isochrone.errors, with a `budget` that may be None; `may_retry` on it says whether
    the same request may be sent again. Cancelling a waiting task cancels its request in the mesh.
    """

    def __init__(
        self,
        target: str | Sequence[str] = "127.0.0.1:50051",
        *,
        timeout_s: float = 10.0,
        sessions: int = 2,
        credentials: grpc.ChannelCredentials | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        transport: Transport | None = None,
    ) -> None:
        """`target` is a router's address, or several. `timeout_s` is for calls that give none: without one, a silent
        network would hold them for ever.

        Requests travel on `sessions` streams to each address; with 0, as a unary RPC each. `transport` replaces all
        of that, and then nothing but it says where requests go.
        """
        targets = [target] if isinstance(target, str) else target
        endpoints = [Endpoint(each, credentials, max_message_bytes) for each in targets]
        self._transport = transport or SessionTransport(endpoints, sessions=sessions)
        self._timeout_s = timeout_s

    async def rank(
        self,
        user: User | recsys_pb2.User,
        item_ids: Iterable[int],
        *,
        top_k: int = 0,
        timeout_s: float | None = None,
        variant: str | None = None,
    ) -> Ranking:
        """Ranks 1 to 1,000 candidate items for a user; `top_k` 0 returns all. Errors as for `call`."""
        request = rank_request(user, item_ids, top_k=top_k)
        return ranking_of(await self.call(RANK, request, timeout_s=timeout_s, variant=variant))

    async def call(
        self, route: str, request: bytes, *, timeout_s: float | None = None, variant: str | None = None
    ) -> Answer:
        """Sends an encoded request to a route, "isochrone.v1.Recsys/Rank", and returns the answer's bytes.

        `timeout_s` is the request's deadline from now; it takes the place of the route's where it is shorter.
        Raises isochrone.errors for what the mesh refused, ValueError or TypeError for arguments that can't be
        sent, RuntimeError once the client is closed.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        return (await self._transport.exchange(Request(route, request, timeout_s, variant))).opened()

    async def fan_out(self, legs: Mapping[str, Leg], *, timeout_s: float | None = None) -> Page:
        """Several requests in one call, answered by its deadline with what has arrived. Raises the error of a leg that
        is required and has no answer; what became of the others is in the page."""
        return page_of(await self.call(FAN_OUT, fan_out_request(legs), timeout_s=timeout_s))

    async def close(self, *, grace_s: float = 1.0) -> None:
        """Lets requests under way finish for that long, then ends them with Cancelled."""
        await self._transport.close(grace_s=grace_s)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"Client({self._transport!r})"
