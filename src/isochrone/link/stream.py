"""What both ends of a link know of the gRPC stream beneath it."""

from __future__ import annotations

from typing import Any, cast

import grpc

SERVICE, METHOD = "isochrone.v1.Link", "Open"
PATH = f"/{SERVICE}/{METHOD}"

EOF = cast(Any, grpc.aio).EOF
"""What a read gives when the other end has finished."""

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # a dial of ours is a new connection, not somebody's backoff
    ("grpc.enable_retries", 0),
)
