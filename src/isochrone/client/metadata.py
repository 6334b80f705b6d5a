"""What goes along with an RPC: a request's wishes on the way there, budget and error on the way back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from isochrone.client.endpoint import Endpoint
from isochrone.client.transport import Reply, Request
from isochrone.errors import DeadlineExceeded, IsochroneError, Unavailable
from isochrone.status import code_of, from_code, from_status
from isochrone.v1 import budget_pb2

VARIANT_KEY = "isochrone-variant"
TIER_KEY = "isochrone-tier"
BUDGET_KEY = "isochrone-budget-bin"
STATUS_KEY = "grpc-status-details-bin"


def metadata_of(request: Request, endpoint: Endpoint) -> tuple[tuple[str, str], ...] | None:
    """What the RPC of a request says besides its message."""
    said = (
        (VARIANT_KEY, request.variant),
        (TIER_KEY, request.tier),
        ("traceparent", request.traceparent),
        ("tracestate", request.tracestate),
    )
    return (*((key, value) for key, value in said if value), *endpoint.metadata) or None


def refusal(code: grpc.StatusCode, details: str | None, trailers: Iterable[Any] | None) -> tuple[Reply, bool]:
    """A failed RPC as a reply: the mesh's own error where it sent one, the bare code's where it didn't; and
    whether it looks as if the connection had ended first. A server that leaves cancels what it hasn't looked at."""
    number: int = code.value[0]
    sent = _find(trailers, STATUS_KEY)
    error = _sent_error(number, sent)
    if error is None:
        error = from_code(number, details or code.value[1])
        if code is grpc.StatusCode.DEADLINE_EXCEEDED and "Deadline Exceeded" in (details or ""):  # gRPC's own words
            error = DeadlineExceeded("no answer within the deadline")
        if code is grpc.StatusCode.UNAVAILABLE:  # that there is no node is the mesh's to say
            error.reason = "CONNECTION_LOST"
    unheard = sent is None and code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    return Reply(b"", error=error, report=report_in(trailers)), unheard


def lost(why: object) -> Unavailable:
    """The error where a connection ended under a request."""
    return Unavailable(f"the connection ended: {why}", reason="CONNECTION_LOST")


def lost_midway(reply: Reply) -> Reply:
    """The reply where a connection ended under an answer that had begun to stream: not to be tried again from here."""
    return Reply(b"", error=lost(reply.error), report=reply.report)


def sent_error(details: bytes) -> IsochroneError | None:
    """The mesh's own error in a serialised google.rpc.Status; None where it is no such thing."""
    try:
        return from_status(status_pb2.Status.FromString(details))
    except DecodeError:
        return None


def report_in(trailers: Iterable[Any] | None) -> budget_pb2.BudgetReport | None:
    """The budget in the trailers. One that can't be read is none: a report must never spoil the answer it came with."""
    data = _find(trailers, BUDGET_KEY)
    try:
        return None if data is None else budget_pb2.BudgetReport.FromString(data)
    except DecodeError:
        return None


def _sent_error(code: int, details: bytes | None) -> IsochroneError | None:
    error = None if details is None else sent_error(details)
    # A proxy on the way may have changed the code, and then knows better than the details it passed on.
    return error if error is not None and code_of(error) == code else None


def _find(trailers: Iterable[Any] | None, key: str) -> bytes | None:
    """A trailer's value. Trailers are pairs, of two types that share no name: asyncio's and the other."""
    for name, value in trailers or ():
        if name == key:
            return value if isinstance(value, bytes) else value.encode()
    return None
