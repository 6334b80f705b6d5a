"""Requests as RPCs of their own over one gRPC channel, for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio

from isochrone.client.endpoint import Endpoint
from isochrone.client.metadata import lost_midway, metadata_of, refusal, report_in
from isochrone.client.transport import Reply, Request, check_size
from isochrone.errors import Cancelled

AGAIN_AFTER_S = (0.0, 0.02)
"""Pauses before a request is sent again whose connection ended under it: its router left or died, and another may
be at the same address. What the mesh itself refused is never sent again from here: it has tried already."""
CLOSED = "the client was closed while the request was under way"


class UnaryTransport:
    """A Transport. Dials on first use, in the event loop that it is used from."""

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

    async def stream(self, request: Request) -> AsyncGenerator[bytes | Reply, None]:
        check_size(request, max_message_bytes=self._endpoint.max_message_bytes)
        give_up_s = time.monotonic() + request.timeout_s
        timeout_s, reply = request.timeout_s, Reply(b"")
        for pause_s in (*AGAIN_AFTER_S, None):
            arrived = unheard = False
            async with aclosing(self._try_stream(request, timeout_s)) as parts:
                async for part in parts:
                    if isinstance(part, bytes):
                        arrived = True
                        yield part
                    else:
                        reply, unheard = part
            if unheard and arrived:
                reply = lost_midway(reply)
            if not unheard or arrived or self._closed or pause_s is None:
                break
            await asyncio.sleep(pause_s)
            timeout_s = max(0.0, give_up_s - time.monotonic())
        yield reply

    async def close(self, *, grace_s: float) -> None:
        self._closed = True
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None:
            await channel.close(grace_s)

    async def _try(self, request: Request, timeout_s: float) -> tuple[Reply, bool]:
        """A reply, and whether it is none of the mesh's own: the connection ended first."""
        call = self._method(request.route)(
            request.payload, timeout=timeout_s, metadata=metadata_of(request, self._endpoint)
        )
        try:
            payload = await call
            return Reply(payload, report=report_in(await call.trailing_metadata())), False
        except grpc.aio.AioRpcError as error:
            return refusal(error.code(), self._endpoint.in_words(error.details()), error.trailing_metadata())
        except asyncio.CancelledError:
            if self._was_closed():
                return Reply(b"", error=Cancelled(CLOSED)), False
            raise

    async def _try_stream(self, request: Request, timeout_s: float) -> AsyncGenerator[bytes | tuple[Reply, bool], None]:
        """Chunks, and last what `_try` gives."""
        method: Any = self._dialled().unary_stream(f"/{request.route}", None, None)
        call = method(request.payload, timeout=timeout_s, metadata=metadata_of(request, self._endpoint))
        try:
            while (chunk := await call.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
                yield chunk
            last = Reply(b"", report=report_in(await call.trailing_metadata())), False
        except grpc.aio.AioRpcError as error:
            last = refusal(error.code(), self._endpoint.in_words(error.details()), error.trailing_metadata())
        except asyncio.CancelledError:
            if not self._was_closed():
                raise
            last = Reply(b"", error=Cancelled(CLOSED)), False
        finally:
            call.cancel()  # does nothing once it has ended
        yield last

    def _was_closed(self) -> bool:
        """gRPC ends its calls as if their task had been cancelled when the channel closes."""
        task = asyncio.current_task()
        return self._closed and (task is None or not task.cancelling())

    def _method(self, route: str) -> grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]:
        method = self._methods.get(route)
        if method is None:
            # No serialisers: bytes go through as they are.
            method = self._methods[route] = self._dialled().unary_unary(f"/{route}", None, None)
        return method

    def _dialled(self) -> grpc.aio.Channel:
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._channel is None:
            self._channel = self._endpoint.dialled()
        return self._channel

    def __repr__(self) -> str:
        state = "closed" if self._closed else "idle" if self._channel is None else "open"
        return f"<unary to {self._endpoint.target}, {state}>"
