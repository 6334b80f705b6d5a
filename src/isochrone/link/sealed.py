"""TLS around a link's stream: the protocol of the connection, and to the stream within it, its transport.

asyncio's own TLS drops the alert that says why a handshake failed, and gives a listening socket one context for good;
here the other end is told why, and each connection has the certificates of the hour.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any, cast

from isochrone import sockets
from isochrone.link.tls import LinkTls, in_words

HANDSHAKE_S = 5.0
_READ_BYTES = 2**18


class LinkBroken(ConnectionError):
    """The stream ended with an error, or there was nobody to open one to."""


class Untrusted(LinkBroken):
    """One end has no certificate that the other believes."""


class Sealed(asyncio.Protocol):
    """One connection. `shaken` is done when both ends believe each other, or has why they don't; until then the
    stream within hears nothing."""

    def __init__(self, stream: asyncio.Protocol, tls: LinkTls, *, dialling: bool) -> None:
        self._stream = stream
        self._name = tls.name
        self._dialling = dialling
        self._context = tls.context(dialling=dialling)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = self._context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=not dialling,
            server_hostname=tls.name if dialling else None,
        )
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self.shaken: asyncio.Future[None] = self._loop.create_future()
        self.host = ""
        """Of the other end."""
        self._within = False
        """Whether the stream has heard of the connection."""
        self._failed: LinkBroken | None = None
        self._in_time = self._loop.call_later(HANDSHAKE_S, self._too_late)

    def __repr__(self) -> str:
        return f"<Sealed {self._stream!r}, {self._tls.version() if self._within else 'shaking hands'}>"

    @property
    def names(self) -> list[str]:
        """DNS names of the other end's certificate, once `shaken` is done."""
        found: Any = (self._tls.getpeercert() or {}).get("subjectAltName", ())
        return [name for kind, name in found if kind == "DNS"]

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass
        sockets.notice_silence(self._transport)
        peer = self._transport.get_extra_info("peername")
        self.host = str(peer[0]) if peer else ""
        if self._dialling:
            self._shake()

    def data_received(self, data: bytes) -> None:
        if self._failed is not None:
            return
        self._incoming.write(data)
        if not self._within:
            self._shake()
        if self._within:
            self._read()

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._in_time.cancel()
        if self._within:
            self._stream.connection_lost(self._failed or exc)
        else:
            self._end_handshake(self._failed or LinkBroken(str(exc or "it hung up before it had shown a certificate")))

    def pause_writing(self) -> None:
        if self._within:
            self._stream.pause_writing()

    def resume_writing(self) -> None:
        if self._within:
            self._stream.resume_writing()

    # What the stream within calls: as much of a transport as it needs.

    def write(self, data: bytes) -> None:
        if self._transport is not None and self._failed is None:
            self._tls.write(data)
            self._flush()

    def close(self) -> None:
        if self._transport is not None:
            if self._failed is None:
                self._say_goodbye()
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._transport is None else self._transport.get_extra_info(name, default)

    # Itself.

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            return self._fail(error)
        self._in_time.cancel()
        self._flush()
        self._within = True
        self._stream.connection_made(cast(asyncio.BaseTransport, self))
        self._end_handshake(None)

    def _read(self) -> None:
        """Records are small: what came of them at once goes in at once."""
        parts: list[bytes] = []
        ended = False
        try:
            while part := self._tls.read(_READ_BYTES):
                parts.append(part)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as error:
            self._fail(error)
        if parts:
            self._stream.data_received(parts[0] if len(parts) == 1 else b"".join(parts))
        self._flush()  # TLS answers some records by itself
        if ended and self._transport is not None:
            self._transport.close()

    def _fail(self, error: ssl.SSLError) -> None:
        """Ends it, once the other end has been told why."""
        self._failed = Untrusted(in_words(error, name=self._name))
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _too_late(self) -> None:
        self._failed = LinkBroken(f"it showed no certificate within {HANDSHAKE_S:g} s")
        self.abort()

    def _end_handshake(self, error: LinkBroken | None) -> None:
        if self.shaken.done():
            return
        if error is None:
            self.shaken.set_result(None)
        else:
            self.shaken.set_exception(error)

    def _say_goodbye(self) -> None:
        with suppress(ssl.SSLError):  # it would wait for the other end's, which we don't
            self._tls.unwrap()
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            self._transport.write(self._outgoing.read())
