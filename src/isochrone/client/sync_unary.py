"""Requests as RPCs of their own over one gRPC channel, for threads that block."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import closing
from typing import Any

import grpc

from isochrone.client.endpoint import Endpoint
from isochrone.client.metadata import lost_midway, metadata_of, refusal, report_in
from isochrone.client.transport import Reply, Request, check_size
from isochrone.client.unary import AGAIN_AFTER_S


class SyncUnaryTransport:
    """A SyncTransport."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = endpoint.dialled_to_block()
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

    def stream(self, request: Request) -> Generator[bytes | Reply, None, None]:
        check_size(request, max_message_bytes=self._endpoint.max_message_bytes)
        give_up_s = time.monotonic() + request.timeout_s
        timeout_s, reply = request.timeout_s, Reply(b"")
        for pause_s in (*AGAIN_AFTER_S, None):
            arrived = unheard = False
            with closing(self._try_stream(request, timeout_s)) as parts:
                for part in parts:
                    if isinstance(part, bytes):
                        arrived = True
                        yield part
                    else:
                        reply, unheard = part
            if unheard and arrived and not self._closed:
                reply = lost_midway(reply)
            if not unheard or arrived or self._closed or pause_s is None:
                break
            time.sleep(pause_s)
            timeout_s = max(0.0, give_up_s - time.monotonic())
        yield reply

    def close(self) -> None:
        self._closed = True
        self._channel.close()

    def _try(self, request: Request, timeout_s: float) -> tuple[Reply, bool]:
        """A reply, and whether it is none of the mesh's own: the connection ended first."""
        self._refuse_once_closed()
        method = self._methods.get(request.route)
        if method is None:
            method = self._channel.unary_unary(f"/{request.route}", None, None)
            self._methods[request.route] = method
        try:
            payload, call = method.with_call(
                request.payload, timeout=timeout_s, metadata=metadata_of(request, self._endpoint)
            )
        except grpc.RpcError as error:
            return self._refusal(error)
        return Reply(payload, report=report_in(call.trailing_metadata())), False

    def _try_stream(self, request: Request, timeout_s: float) -> Generator[bytes | tuple[Reply, bool], None, None]:
        """Chunks, and last what `_try` gives."""
        self._refuse_once_closed()
        method: Any = self._channel.unary_stream(f"/{request.route}", None, None)
        call = method(request.payload, timeout=timeout_s, metadata=metadata_of(request, self._endpoint))
        try:
            yield from call
            last = Reply(b"", report=report_in(call.trailing_metadata())), False
        except grpc.RpcError as error:
            last = self._refusal(error)
        finally:
            call.cancel()  # does nothing once it has ended
        yield last

    def _refusal(self, failed: Any) -> tuple[Reply, bool]:
        """What a blocking call raises is its own call object too, but no type says so."""
        return refusal(failed.code(), self._endpoint.in_words(failed.details()), failed.trailing_metadata())

    def _refuse_once_closed(self) -> None:
        if self._closed:
            raise RuntimeError("the client is closed")

    def __repr__(self) -> str:
        return f"<unary to {self._endpoint.target}, {'closed' if self._closed else 'open'}>"
