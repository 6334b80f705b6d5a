"""Where the mesh is, and the channels to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import grpc
import grpc.aio

from isochrone.client.tls import Credentials, Tls
from isochrone.client.transport import MAX_MESSAGE_BYTES
from isochrone.credentials import AUTHORIZATION, could_be_token, why_no_token


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the mesh is and how to talk to it."""

    target: str
    """A gRPC target: "host:port", "unix:/path", "dns:///name:port"."""
    credentials: grpc.ChannelCredentials | Credentials | None = None
    """TLS where given, plain text where not, and on Unix sockets: the kernel guards those."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    server_name: str | None = None
    """What the server's certificate should name, where that isn't the target's host."""
    token: str | None = field(default=None, repr=False)
    """Shown with every RPC. Without TLS whoever is on the way can read it."""

    def __post_init__(self) -> None:
        """Raises ValueError for a token that can't be sent; without the token in it."""
        if self.token is not None and not could_be_token(self.token):
            raise ValueError(f"token should be one of `isochrone token`: {why_no_token(self.token)}")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with every RPC."""
        return () if self.token is None else ((AUTHORIZATION, f"Bearer {self.token}"),)

    @classmethod
    def of(
        cls,
        targets: Iterable[str],
        *,
        credentials: grpc.ChannelCredentials | None = None,
        tls: Tls | bool = False,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        token: str | None = None,
    ) -> list[Endpoint]:
        """As a client's arguments have it. Raises ValueError for those that can't be, ConfigError for certificates."""
        if tls and credentials is not None:
            raise ValueError("tls or credentials, not both")
        wanted = Tls() if tls is True else tls or None
        given = credentials if wanted is None else wanted.credentials()
        name = None if wanted is None else wanted.name
        return [cls(target, given, max_message_bytes, name, token) for target in targets]

    def options(self) -> list[tuple[str, int | str]]:
        """The channel's options."""
        name = [] if self.server_name is None else [("grpc.ssl_target_name_override", self.server_name)]
        return [
            *name,
            # The router retries, with evidence and within a budget; a second layer would multiply load.
            ("grpc.enable_retries", 0),
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", self.max_message_bytes),
            # A peer that vanished without a word is noticed, but only while somebody waits for it:
            # servers cut off clients that ping with nothing under way.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 0),
            # gRPC would wait up to two minutes before it dials a restarted router again.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]

    def dialled(self, *, own_connection: bool = False) -> grpc.aio.Channel:
        """A channel for asyncio; it connects on first use. `own_connection`: one that no other channel shares, so
        that several of them may reach several router processes behind one port."""
        options = [*self.options(), ("grpc.use_local_subchannel_pool", int(own_connection))]
        credentials = self._channel_credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self.target, options=options)
        return grpc.aio.secure_channel(self.target, credentials, options=options)

    def dialled_to_block(self, more: Iterable[tuple[str, int | str]] = ()) -> grpc.Channel:
        """A channel for threads that block, with `more` options."""
        options, credentials = [*self.options(), *more], self._channel_credentials()
        if credentials is None:
            return grpc.insecure_channel(self.target, options=options)
        return grpc.secure_channel(self.target, credentials, options=options)

    def in_words(self, details: str | None) -> str | None:
        """gRPC's details of a failure at this endpoint, with what they mean where TLS is what failed."""
        if not details or not details.startswith("failed to connect"):
            return details
        from isochrone.client import tls_words  # with ssl, where there is something to be said of it

        certificate, key = self.credentials.shown if isinstance(self.credentials, Credentials) else (None, None)
        said = tls_words.in_words(details, secure=self._is_secure, certificate=certificate, key=key)
        return details if said == details else f"{self.target}: {said}"

    @property
    def _is_secure(self) -> bool:
        return self.credentials is not None and not self.target.startswith(("unix:", "unix-abstract:"))

    def _channel_credentials(self) -> grpc.ChannelCredentials | None:
        """For the next channel; None: plain text."""
        if not self._is_secure:
            return None
        return self.credentials() if isinstance(self.credentials, Credentials) else self.credentials
