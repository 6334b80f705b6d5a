"""Requests as unary RPCs over one gRPC channel: the channel, its options, and what trailers say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from isochrone.client.endpoint import Endpoint
from isochrone.client.transport import Reply, Request, check_size
from isochrone.errors import Cancelled, IsochroneError
from isochrone.status import code_of, from_code, from_status
from isochrone.v1 import budget_pb2

VARIANT_KEY = "isochrone-variant"
BUDGET_KEY = "isochrone-budget-bin"
STATUS_KEY = "grpc-status-details-bin"

AGAIN_AFTER_S = (0.0, 0.02)
"""Pauses before a request is sent again whose connection ended under it: its router left or died, and another may
be at the same address. What the mesh itself refused is never sent again from here: it has tried already."""


class UnaryTransport:
    """A Transport for asyncio. Dials on first use, in the event loop that it is used from."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel: grpc.aio.Channel | None = None
        self._methods: dict[str, grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._closed = False

    async def exchange(self, request: Request) -> Reply:
        check_size(request, max_message_bytes=self._endpoint.max_message_bytes)
        give_up_s = time.monotonic() + request.timeout_s
        reply, unheard = await self._try(request, request.timeout_s)
        for pause_s in AGAIN_AFTER_S:
            if not unheard:
                break
            await asyncio.sleep(pause_s)
            if self._closed:
                break
            reply, unheard = await self._try(request, max(0.0, give_up_s - time.monotonic()))
        return reply

    async def close(self, *, grace_s: float) -> None:
        self._closed = True
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None:
            await channel.close(grace_s)

    async def _try(self, request: Request, timeout_s: float) -> tuple[Reply, bool]:
        """A reply, and whether it is none of the mesh's own: the connection ended first."""
        call = self._method(request.route)(request.payload, timeout=timeout_s, metadata=_metadata(request))
        try:
            payload = await call
            return Reply(payload, report=_report(await call.trailing_metadata())), False
        except grpc.aio.AioRpcError as error:
            return _refusal(error.code(), error.details(), error.trailing_metadata())
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and (task is None or not task.cancelling()):
                # gRPC ends its calls this way when the channel closes; nobody cancelled this task.
                return Reply(b"", error=Cancelled("the client was closed while the request was under way")), False
            raise

    def _method(self, route: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        method = self._methods.get(route)
        if method is None:
            if self._closed:
                raise RuntimeError("the client is closed")
            if self._channel is None:
                self._channel = self._endpoint.dialled()
            # No serialisers: bytes go through as they are.
            method = self._methods[route] = self._channel.unary_unary(f"/{route}", None, None)
        return method

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._channel is None else "open"
        return f"<unary to {self._endpoint.target}, {state}>"


class SyncUnaryTransport:
    """A SyncTransport for threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        if endpoint.credentials is None:
            self._channel = grpc.insecure_channel(endpoint.target, options=endpoint.options())
        else:
            self._channel = grpc.secure_channel(endpoint.target, endpoint.credentials, options=endpoint.options())
        self._methods: dict[str, grpc.UnaryUnaryMultiCallable[bytes, bytes]] = {}
        self._closed = False

    def exchange(self, request: Request) -> Reply:
        check_size(request, max_message_bytes=self._endpoint.max_message_bytes)
        give_up_s = time.monotonic() + request.timeout_s
        reply, unheard = self._try(request, request.timeout_s)
        for pause_s in AGAIN_AFTER_S:
            if not unheard:
                break
            time.sleep(pause_s)
            if self._closed:
                break
            reply, unheard = self._try(request, max(0.0, give_up_s - time.monotonic()))
        return reply

    def _try(self, request: Request, timeout_s: float) -> tuple[Reply, bool]:
        if self._closed:
            raise RuntimeError("the client is closed")
        method = self._methods.get(request.route)
        if method is None:
            method = self._channel.unary_unary(f"/{request.route}", None, None)
            self._methods[request.route] = method
        try:
            payload, call = method.with_call(request.payload, timeout=timeout_s, metadata=_metadata(request))
        except grpc.RpcError as error:
            # What a blocking call raises is its own call object too, but no type says so.
            failed: Any = error
            return _refusal(failed.code(), failed.details(), failed.trailing_metadata())
        return Reply(payload, report=_report(call.trailing_metadata())), False

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def __repr__(self) -> str:
        return f"<unary to {self._endpoint.target}, {'closed' if self._closed else 'open'}>"


def _metadata(request: Request) -> tuple[tuple[str, str], ...] | None:
    return None if request.variant is None else ((VARIANT_KEY, request.variant),)


def _refusal(code: grpc.StatusCode, details: str | None, trailers: Iterable[Any] | None) -> tuple[Reply, bool]:
    """A failed RPC as a reply: the mesh's own error where it sent one, the bare code's where it didn't; and
    whether it looks as if the connection had ended first. A server that leaves cancels what it hasn't looked at."""
    number: int = code.value[0]
    sent = _find(trailers, STATUS_KEY)
    error = _sent_error(number, sent) or from_code(number, details or code.value[1])
    unheard = sent is None and code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    return Reply(b"", error=error, report=_report(trailers)), unheard


def sent_error(details: bytes) -> IsochroneError | None:
    """The mesh's own error in a serialised google.rpc.Status; None where it is no such thing."""
    try:
        return from_status(status_pb2.Status.FromString(details))
    except DecodeError:
        return None


def _sent_error(code: int, details: bytes | None) -> IsochroneError | None:
    error = None if details is None else sent_error(details)
    # A proxy on the way may have changed the code, and then knows better than the details it passed on.
    return error if error is not None and code_of(error) == code else None


def _report(trailers: Iterable[Any] | None) -> budget_pb2.BudgetReport | None:
    """The budget in the trailers. One that can't be read is none: a report must never spoil the answer it came with."""
    data = _find(trailers, BUDGET_KEY)
    try:
        return None if data is None else budget_pb2.BudgetReport.FromString(data)
    except DecodeError:
        return None


def _find(trailers: Iterable[Any] | None, key: str) -> bytes | None:
    """A trailer's value. Trailers are pairs, of two types that share no name: asyncio's and the other."""
    for name, value in trailers or ():
        if name == key:
            return value if isinstance(value, bytes) else value.encode()
    return None
