"""Where the mesh is, and the channels to it."""

from __future__ import annotations

from dataclasses import dataclass, field

import grpc
import grpc.aio

from isochrone.client.transport import MAX_MESSAGE_BYTES
from isochrone.credentials import AUTHORIZATION, could_be_token


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the mesh is and how to talk to it."""

    target: str
    """A gRPC target: "host:port", "unix:/path", "dns:///name:port"."""
    credentials: grpc.ChannelCredentials | None = None
    """TLS where given, plain text where not."""
    max_message_bytes: int = MAX_MESSAGE_BYTES
    token: str | None = field(default=None, repr=False)
    """Shown with every RPC. Without TLS whoever is on the way can read it."""

    def __post_init__(self) -> None:
        """Raises ValueError for a token that can't be sent; without the token in it."""
        if self.token is not None and not could_be_token(self.token):
            raise ValueError("token should be one as `isochrone token` makes them: letters, digits and -._~+/ alone")

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What goes along with every RPC."""
        return () if self.token is None else ((AUTHORIZATION, f"Bearer {self.token}"),)

    def options(self) -> list[tuple[str, int]]:
        """The channel's options."""
        return [
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
        if self.credentials is None:
            return grpc.aio.insecure_channel(self.target, options=options)
        return grpc.aio.secure_channel(self.target, self.credentials, options=options)
