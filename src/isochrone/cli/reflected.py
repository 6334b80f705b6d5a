"""A server's methods as its reflection describes them: found by name, and their messages to and from JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from isochrone.client.endpoint import Endpoint
from isochrone.errors import InvalidRequest, Unavailable, UnknownRoute

_ASKED_S = 1.0
_OF_GRPC = ("grpc.reflection.", "grpc.health.")


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC method of a server."""

    descriptor: MethodDescriptor

    @property
    def route(self) -> str:
        """ "isochrone.v1.Recsys/Rank"."""
        return f"{self.descriptor.containing_service.full_name}/{self.descriptor.name}"

    @property
    def streams(self) -> bool:
        """Whether its answer does."""
        return bool(self.descriptor.server_streaming)

    @property
    def takes_a_stream(self) -> bool:
        """Whether its request does: then it can't be called from here."""
        return bool(self.descriptor.client_streaming)

    def encode(self, text: str) -> bytes:
        """The request's bytes from JSON. Raises InvalidRequest saying where it is wrong."""
        message = GetMessageClass(self.descriptor.input_type)()
        try:
            json_format.Parse(text, message)
        except json_format.ParseError as error:
            raise InvalidRequest(f"--json is no {self.descriptor.input_type.full_name}: {_first_line(error)}") from None
        return message.SerializeToString()

    def decode(self, payload: bytes) -> str:
        """An answer's bytes as JSON: lists of numbers on one line, all of it where it is one of a stream."""
        try:
            message = GetMessageClass(self.descriptor.output_type).FromString(payload)
        except DecodeError as error:
            raise Unavailable(f"the answer is no {self.descriptor.output_type.full_name}: {error}") from None
        found = json_format.MessageToDict(message, preserving_proto_field_name=True)
        return json.dumps(found, ensure_ascii=False) if self.streams else compact(found)

    def template(self) -> str:
        """JSON that shows what a request may hold."""
        return compact(_sample(self.descriptor.input_type, depth=0))


def methods(endpoint: Endpoint, *, timeout_s: float) -> list[Method]:
    """Every method of a server but gRPC's own. Raises Unavailable where nobody answers or reflects."""
    with endpoint.dialled_to_block() as channel:
        return _methods(channel, endpoint, timeout_s)


def _methods(channel: grpc.Channel, endpoint: Endpoint, timeout_s: float) -> list[Method]:
    target = endpoint.target
    try:
        grpc.channel_ready_future(channel).result(timeout=timeout_s)
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        names = sorted(name for name in database.get_services() if not name.startswith(_OF_GRPC))
        services = [pool.FindServiceByName(name) for name in names]
    except grpc.FutureTimeoutError:
        raise Unavailable(_why_nothing_answers(channel, endpoint)) from None
    except grpc.RpcError as error:
        raise Unavailable(f"{target} does not describe its methods: {error.details()}") from None
    except KeyError as error:
        raise Unavailable(f"{target} names a service but does not describe it: {error}") from None
    return [Method(method) for service in services for method in service.methods]


def _why_nothing_answers(channel: grpc.Channel, endpoint: Endpoint) -> str:
    """Somebody may be there, and TLS what failed: a call is told, where waiting for a connection is not."""
    told = f"nothing answers at {endpoint.target}; is the mesh up? isochrone up"
    try:
        channel.unary_unary("/grpc.health.v1.Health/Check", None, None)(b"", timeout=_ASKED_S)
    except grpc.RpcError as error:
        said: Any = error  # it is its own call object too, but no type says so
        words = endpoint.in_words(said.details())
        if words and words != said.details():
            return words
    return told


def find(known: list[Method], name: str) -> Method:
    """The method meant by a full name or by the end of one: "Recsys/Rank", "Rank". Raises UnknownRoute."""
    wanted = re.sub(r"\.(?=\w+$)", "/", name.strip("/")) if "/" not in name.strip("/") else name.strip("/")
    found = [m for m in known if m.route == wanted] or [
        m for m in known if re.search(rf"(^|[./]){re.escape(wanted)}$", m.route)
    ]
    if len(found) == 1:
        return found[0]
    there = ", ".join(m.route for m in found or known) or "none"
    raise UnknownRoute(f"{name} {'could be any of' if found else 'is not among the methods here'}: {there}")


def compact(value: Any, depth: int = 0) -> str:
    """JSON for people: indented, but a list of plain values takes one line."""
    inside, outside = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict) and value:
        rows = [f"{inside}{json.dumps(key)}: {compact(item, depth + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{outside}}}"
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return "[\n" + ",\n".join(inside + compact(item, depth + 1) for item in value) + f"\n{outside}]"
    return json.dumps(value, ensure_ascii=False)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]


def _sample(message: Descriptor, *, depth: int) -> dict[str, Any]:
    return {field.name: _sample_of(field, depth) for field in message.fields} if depth < 4 else {}


def _sample_of(field: FieldDescriptor, depth: int) -> Any:
    if field.message_type is not None:
        value: Any = _sample(field.message_type, depth=depth + 1)
    elif field.enum_type is not None:
        value = field.enum_type.values[0].name
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        value = "bytes in base64" if field.type == FieldDescriptor.TYPE_BYTES else "text"
    elif field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        value = False
    else:
        value = 0.5 if field.cpp_type in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE) else 1
    return [value] if field.is_repeated else value
