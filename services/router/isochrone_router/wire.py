"""Fields of an encoded protobuf message, found and renumbered without knowing its type.

https://protobuf.dev/programming-guides/encoding/: a message is a sequence of records, each a tag (field number and
wire type) and a value, and messages put end to end are merged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class WireError(ValueError):
    """The bytes are no protobuf message."""


def moved(message: bytes, *, field: int, to: int, most: int = 0) -> bytes:
    """The records of a field, in their order, under another number; empty where it has none. Raises WireError.

    The first `most` of them; 0: all. Numbers of a repeated field share a record.
    """
    found = (_varint(to << 3 | wire_type) + value for number, wire_type, value in records(message) if number == field)
    return b"".join(islice(found, most or None))


def records(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Field number, wire type and encoded value of each record. Raises WireError."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _read_varint(message, at)
        number, wire_type = tag >> 3, tag & 7
        begin = at
        if wire_type == _VARINT:
            _, at = _read_varint(message, at)
        elif wire_type == _FIXED64:
            at += 8
        elif wire_type == _FIXED32:
            at += 4
        elif wire_type == _BYTES:
            size, at = _read_varint(message, at)
            at += size
        else:
            raise WireError(f"wire type {wire_type} at byte {begin}")
        if at > end or not number:
            raise WireError(f"a record that begins at byte {begin} is cut off")
        yield number, wire_type, message[begin:at]


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError(f"no varint at byte {at}")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
