"""Values into a request's fields and answers out of their bytes, with errors that say what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message
from google.rpc import code_pb2

from isochrone.errors import InvalidRequest
from isochrone.status import from_code

M = TypeVar("M", bound=Message)


def fill(request: Any, **values: Any) -> None:
    """Sets fields. Raises InvalidRequest naming the one whose value doesn't fit: protobuf itself checks types and
    ranges, but names no field."""
    for name, value in values.items():
        try:
            setattr(request, name, value)
        except (TypeError, ValueError) as error:
            raise InvalidRequest.of(name, str(error)) from error


def extend(into: Any, name: str, values: Iterable[Any]) -> None:
    """Appends to a repeated field, whose name is for the error alone. Raises InvalidRequest as `fill` does."""
    try:
        into.extend(values)
    except (TypeError, ValueError) as error:
        raise InvalidRequest.of(name, str(error)) from error


def parsed(kind: type[M], payload: bytes) -> M:
    """An answer's message. Raises Internal where its bytes are something else."""
    try:
        return kind.FromString(payload)
    except DecodeError as error:
        raise from_code(code_pb2.INTERNAL, f"the answer is not a {kind.DESCRIPTOR.name}: {error}") from error
