from google.protobuf import any_pb2 as _any_pb2
from isochrone.v1 import budget_pb2 as _budget_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LegOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEG_OUTCOME_UNSPECIFIED: _ClassVar[LegOutcome]
    LEG_OUTCOME_OK: _ClassVar[LegOutcome]
    LEG_OUTCOME_FALLBACK: _ClassVar[LegOutcome]
    LEG_OUTCOME_MISSED: _ClassVar[LegOutcome]
    LEG_OUTCOME_CHUNK: _ClassVar[LegOutcome]
LEG_OUTCOME_UNSPECIFIED: LegOutcome
LEG_OUTCOME_OK: LegOutcome
LEG_OUTCOME_FALLBACK: LegOutcome
LEG_OUTCOME_MISSED: LegOutcome
LEG_OUTCOME_CHUNK: LegOutcome

class ClientFrames(_message.Message):
    __slots__ = ("hello", "requests", "cancels", "credits")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    hello: SessionHello
    requests: _containers.RepeatedCompositeFieldContainer[SessionRequest]
    cancels: _containers.RepeatedScalarFieldContainer[int]
    credits: _containers.RepeatedCompositeFieldContainer[SessionCredit]
    def __init__(self, hello: _Optional[_Union[SessionHello, _Mapping]] = ..., requests: _Optional[_Iterable[_Union[SessionRequest, _Mapping]]] = ..., cancels: _Optional[_Iterable[int]] = ..., credits: _Optional[_Iterable[_Union[SessionCredit, _Mapping]]] = ...) -> None: ...

class SessionFrames(_message.Message):
    __slots__ = ("welcome", "answers", "drain", "chunks")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    welcome: SessionWelcome
    answers: _containers.RepeatedCompositeFieldContainer[SessionAnswer]
    drain: bool
    chunks: _containers.RepeatedCompositeFieldContainer[SessionChunk]
    def __init__(self, welcome: _Optional[_Union[SessionWelcome, _Mapping]] = ..., answers: _Optional[_Iterable[_Union[SessionAnswer, _Mapping]]] = ..., drain: _Optional[bool] = ..., chunks: _Optional[_Iterable[_Union[SessionChunk, _Mapping]]] = ...) -> None: ...

class SessionHello(_message.Message):
    __slots__ = ("version_min", "version_max", "client")
    VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_MAX_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    version_min: int
    version_max: int
    client: int
    def __init__(self, version_min: _Optional[int] = ..., version_max: _Optional[int] = ..., client: _Optional[int] = ...) -> None: ...

class SessionWelcome(_message.Message):
    __slots__ = ("version", "router", "refusal", "window_requests", "window_bytes", "request_bytes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    WINDOW_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_BYTES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    version: int
    router: str
    refusal: str
    window_requests: int
    window_bytes: int
    request_bytes: int
    def __init__(self, version: _Optional[int] = ..., router: _Optional[str] = ..., refusal: _Optional[str] = ..., window_requests: _Optional[int] = ..., window_bytes: _Optional[int] = ..., request_bytes: _Optional[int] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("id", "route", "payload", "timeout_us", "variant", "credits", "tier", "traceparent", "tracestate")
    ID_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    id: int
    route: str
    payload: bytes
    timeout_us: int
    variant: str
    credits: int
    tier: str
    traceparent: str
    tracestate: str
    def __init__(self, id: _Optional[int] = ..., route: _Optional[str] = ..., payload: _Optional[bytes] = ..., timeout_us: _Optional[int] = ..., variant: _Optional[str] = ..., credits: _Optional[int] = ..., tier: _Optional[str] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ...) -> None: ...

class SessionChunk(_message.Message):
    __slots__ = ("id", "number", "payload")
    ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    id: int
    number: int
    payload: bytes
    def __init__(self, id: _Optional[int] = ..., number: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class SessionCredit(_message.Message):
    __slots__ = ("id", "chunks")
    ID_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    id: int
    chunks: int
    def __init__(self, id: _Optional[int] = ..., chunks: _Optional[int] = ...) -> None: ...

class SessionAnswer(_message.Message):
    __slots__ = ("id", "payload", "status", "budget")
    ID_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    id: int
    payload: bytes
    status: bytes
    budget: _budget_pb2.BudgetReport
    def __init__(self, id: _Optional[int] = ..., payload: _Optional[bytes] = ..., status: _Optional[bytes] = ..., budget: _Optional[_Union[_budget_pb2.BudgetReport, _Mapping]] = ...) -> None: ...

class FanOutRequest(_message.Message):
    __slots__ = ("legs",)
    LEGS_FIELD_NUMBER: _ClassVar[int]
    legs: _containers.RepeatedCompositeFieldContainer[Leg]
    def __init__(self, legs: _Optional[_Iterable[_Union[Leg, _Mapping]]] = ...) -> None: ...

class Leg(_message.Message):
    __slots__ = ("name", "route", "request", "required", "timeout_us", "variant", "takes", "fallback")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_US_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    TAKES_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    name: str
    route: str
    request: _any_pb2.Any
    required: bool
    timeout_us: int
    variant: str
    takes: _containers.RepeatedCompositeFieldContainer[Take]
    fallback: _any_pb2.Any
    def __init__(self, name: _Optional[str] = ..., route: _Optional[str] = ..., request: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., required: _Optional[bool] = ..., timeout_us: _Optional[int] = ..., variant: _Optional[str] = ..., takes: _Optional[_Iterable[_Union[Take, _Mapping]]] = ..., fallback: _Optional[_Union[_any_pb2.Any, _Mapping]] = ...) -> None: ...

class Take(_message.Message):
    __slots__ = ("leg", "field", "into", "most", "optional")
    LEG_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    INTO_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    OPTIONAL_FIELD_NUMBER: _ClassVar[int]
    leg: str
    field: int
    into: int
    most: int
    optional: bool
    def __init__(self, leg: _Optional[str] = ..., field: _Optional[int] = ..., into: _Optional[int] = ..., most: _Optional[int] = ..., optional: _Optional[bool] = ...) -> None: ...

class LegResult(_message.Message):
    __slots__ = ("name", "outcome", "answer", "status", "budget")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    name: str
    outcome: LegOutcome
    answer: _any_pb2.Any
    status: bytes
    budget: _budget_pb2.BudgetReport
    def __init__(self, name: _Optional[str] = ..., outcome: _Optional[_Union[LegOutcome, str]] = ..., answer: _Optional[_Union[_any_pb2.Any, _Mapping]] = ..., status: _Optional[bytes] = ..., budget: _Optional[_Union[_budget_pb2.BudgetReport, _Mapping]] = ...) -> None: ...

class FanOutResponse(_message.Message):
    __slots__ = ("legs", "total_us")
    LEGS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    legs: _containers.RepeatedCompositeFieldContainer[LegResult]
    total_us: int
    def __init__(self, legs: _Optional[_Iterable[_Union[LegResult, _Mapping]]] = ..., total_us: _Optional[int] = ...) -> None: ...
