from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ToyMessage(_message.Message):
    __slots__ = ("body", "units", "trouble")
    BODY_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    TROUBLE_FIELD_NUMBER: _ClassVar[int]
    body: bytes
    units: int
    trouble: str
    def __init__(self, body: _Optional[bytes] = ..., units: _Optional[int] = ..., trouble: _Optional[str] = ...) -> None: ...
