"""Fixed answers, from what the configuration says to the bytes that callers get."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.json_format import ParseDict, ParseError

from isochrone.config.fallback import StaticConfig
from isochrone.methods import known, streams

MOST_CHUNKS = 32
"""They are made at once, without waiting for whoever takes them."""


def answers_of(route: str, config: StaticConfig) -> tuple[bytes, ...]:
    """The answer's bytes; of a route that streams, those of each chunk. Raises ValueError, with a sentence."""
    if config.base64 is not None:
        try:
            return (base64.b64decode(config.base64, validate=True),)
        except binascii.Error as error:
            raise ValueError(f"base64: {error}") from error
    if config.file is not None:
        try:
            data = config.file.read_bytes()
        except OSError as error:
            raise ValueError(f"file: {config.file}: can't be read: {error.strerror or error}") from error
        if config.file.suffix != ".json":
            return (data,)
        try:
            return _encoded(route, json.loads(data))
        except ValueError as error:
            raise ValueError(f"file: {config.file}: {error}") from error
    try:
        return _encoded(route, config.message)
    except ValueError as error:
        raise ValueError(f"message: {error}") from error


def _encoded(route: str, given: Any) -> tuple[bytes, ...]:
    method = known(route)
    if method is None:
        raise ValueError(f"the answers of {route} are not known here: give their bytes, as base64 or in a file")
    if not streams(route):
        return (_message(method, given),)
    chunks = given if isinstance(given, list) else [given]
    if not 1 <= len(chunks) <= MOST_CHUNKS:
        raise ValueError(f"{len(chunks)} chunks; there must be 1 to {MOST_CHUNKS}")
    return tuple(_message(method, chunk) for chunk in chunks)


def _message(method: MethodDescriptor, given: Any) -> bytes:
    kind = method.output_type
    if not isinstance(given, dict):
        raise ValueError(f"should be a mapping: a {kind.full_name}")
    try:
        message = ParseDict(given, message_factory.GetMessageClass(kind)())
    except ParseError as error:
        raise ValueError(f"is no {kind.full_name}: {error}") from error
    return bytes(message.SerializeToString())
