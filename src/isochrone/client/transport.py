"""The seam under the client: one request goes out and one reply comes back, whole or in chunks, however they travel.

`isochrone.client.unary` sends each request as an RPC of its own. A stream that carries many requests is
another Transport, and nothing above this file can tell which one it has.
"""

from __future__ import annotations

import math
import re
from collections.abc import AsyncGenerator, Generator
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, TypedDict, get_args

from isochrone.client.budget import Budget
from isochrone.client.trace import trace_context
from isochrone.errors import InvalidRequest, IsochroneError
from isochrone.v1 import budget_pb2

_ROUTE = re.compile(r"[A-Za-z_][\w.]*\.[A-Za-z_]\w*/[A-Za-z_]\w*", re.ASCII)
_VARIANT = re.compile(r"[\w.@-]+", re.ASCII)

MAX_MESSAGE_BYTES = 8 * 2**20
"""The largest request a router takes unless it is configured otherwise."""

Tier: TypeAlias = Literal["gold", "standard", "batch"]
"""Which of a lane's queues a request waits in: gold is claimed first, batch last."""


class Options(TypedDict, total=False):
    """What every call takes."""

    timeout_s: float | None
    """The request's deadline, from now; it takes the place of the route's where it is shorter. None: the client's."""
    variant: str | None
    """The model variant that must answer, "ranker.fp32"; None leaves the choice to the router."""
    tier: Tier | None
    """None is standard."""


LONGEST_S = 30 * 24 * 3600.0
"""gRPC takes centuries for a deadline that has passed, and no route gives anybody so much."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, checked and ready to be sent."""

    route: str
    """ "isochrone.v1.Recsys/Rank", with no slash before it."""
    payload: bytes
    timeout_s: float
    """From the moment it is sent; over 0 and finite."""
    variant: str | None = None
    """The model variant that must answer it; None leaves the choice to the router."""
    tier: Tier | None = None
    traceparent: str = ""
    """The caller's, as W3C Trace Context has them; so is the next. Empty where it isn't traced."""
    tracestate: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError or TypeError for what the calling code got wrong."""
        if not isinstance(self.payload, bytes):
            raise TypeError(f"the request should be bytes, not {type(self.payload).__name__}")
        if not _ROUTE.fullmatch(self.route):
            raise ValueError(f"route should look like 'isochrone.v1.Recsys/Rank'; it is {self.route!r}")
        if not (self.timeout_s > 0 and math.isfinite(self.timeout_s)):
            raise ValueError(f"timeout_s should be over 0 and finite; it is {self.timeout_s}")
        if self.variant is not None and not _VARIANT.fullmatch(self.variant):
            raise ValueError(f"variant should look like 'ranker.fp32'; it is {self.variant!r}")
        if self.tier is not None and self.tier not in get_args(Tier):
            raise ValueError(f"tier should be one of {', '.join(get_args(Tier))}; it is {self.tier!r}")


def new_request(
    route: str,
    payload: bytes,
    otherwise_s: float,
    *,
    timeout_s: float | None = None,
    variant: str | None = None,
    tier: Tier | None = None,
) -> Request:
    """A request with a call's Options, `otherwise_s` its timeout where it has none, and the current span its parent.
    Raises ValueError or TypeError for what the calling code got wrong."""
    given_s = otherwise_s if timeout_s is None else timeout_s
    sent_s = min(given_s, LONGEST_S) if math.isfinite(given_s) else given_s
    return Request(route, payload, sent_s, variant, tier, *trace_context())


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the answer's bytes, or the error in their place; with either, perhaps a report."""

    payload: bytes
    error: IsochroneError | None = None
    report: budget_pb2.BudgetReport | None = None

    @property
    def budget(self) -> Budget | None:
        return None if self.report is None else Budget(self.report)

    def opened(self) -> Answer:
        """The answer. Raises the error otherwise, with its `budget` set (None where no report came)."""
        error = self.error
        if error is None:
            return Answer(self.payload, self.budget)
        error.budget = self.budget
        try:
            raise error
        finally:
            del error, self  # or the error, whose traceback has this frame, would be kept by itself


@dataclass(frozen=True, slots=True)
class Answer:
    """The bytes that a route answered, and where their budget went (None where the server did not say)."""

    payload: bytes
    budget: Budget | None


class Transport(Protocol):
    """Carries requests for an asyncio caller."""

    async def exchange(self, request: Request) -> Reply:
        """Sends one request and waits for its reply, at most until its timeout.

        What the mesh or the network refused comes back as the reply's error. Cancelling the waiting task
        cancels the request in the mesh. Raises RuntimeError once closed, InvalidRequest for a request that
        is too large to be sent.
        """

    def stream(self, request: Request) -> AsyncGenerator[bytes | Reply, None]:
        """Sends one request whose answer streams: gives its chunks, and last of all, always, a Reply without payload.

        It is sent when the first is asked for. A reader that asks for no more holds the mesh up. Closing it before
        its end cancels the request in the mesh; the rest is as for `exchange`.
        """

    async def close(self, *, grace_s: float) -> None:
        """Lets requests under way finish for that long, then ends them with Cancelled. Idempotent."""


class SyncTransport(Protocol):
    """The same for threads that block; safe to share among them."""

    def exchange(self, request: Request) -> Reply: ...

    def stream(self, request: Request) -> Generator[bytes | Reply, None, None]: ...

    def close(self) -> None: ...


def check_size(request: Request, *, max_message_bytes: int) -> None:
    """Raises InvalidRequest for a request over the limit.

    gRPC's own refusal would be RESOURCE_EXHAUSTED, which reads as "ask again later".
    """
    size_bytes = len(request.payload)
    if size_bytes > max_message_bytes:
        raise InvalidRequest.of("request", f"is {size_bytes} bytes; at most {max_message_bytes} can be sent")
