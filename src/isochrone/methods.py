"""What is known here of RPC methods, by their routes: which messages they take and give, and whether they stream."""

from __future__ import annotations

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor

# Imported for what they add to the default descriptor pool.
from isochrone.testing.v1 import toy_pb2  # noqa: F401
from isochrone.v1 import llm_pb2, recsys_pb2, router_pb2, vision_pb2  # noqa: F401

_known: dict[str, MethodDescriptor] = {}
"""Found before: looking for one takes a while, and fan-outs ask for each leg. What isn't found may come yet."""


def known(route: str) -> MethodDescriptor | None:
    """The descriptor of "isochrone.v1.Recsys/Rank"; None where its service is somebody else's."""
    method = _known.get(route)
    if method is None:
        method = _find(route)
        if method is not None:
            _known[route] = method
    return method


def streams(route: str) -> bool:
    """Whether the method's answer is a stream. One that isn't known here is taken for one that isn't."""
    method = known(route)
    return method is not None and bool(method.server_streaming)


def _find(route: str) -> MethodDescriptor | None:
    service, _, method = route.rpartition("/")
    try:
        found: MethodDescriptor | None = (
            descriptor_pool.Default().FindServiceByName(service).methods_by_name.get(method)
        )
    except KeyError:
        return None
    return found
