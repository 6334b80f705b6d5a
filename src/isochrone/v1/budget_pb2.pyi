from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Stage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STAGE_UNSPECIFIED: _ClassVar[Stage]
    STAGE_ADMIT: _ClassVar[Stage]
    STAGE_QUEUE: _ClassVar[Stage]
    STAGE_BATCH_WAIT: _ClassVar[Stage]
    STAGE_COMPUTE: _ClassVar[Stage]
    STAGE_LINK: _ClassVar[Stage]
    STAGE_ANSWER: _ClassVar[Stage]
STAGE_UNSPECIFIED: Stage
STAGE_ADMIT: Stage
STAGE_QUEUE: Stage
STAGE_BATCH_WAIT: Stage
STAGE_COMPUTE: Stage
STAGE_LINK: Stage
STAGE_ANSWER: Stage

class BudgetReport(_message.Message):
    __slots__ = ("objective_us", "deadline_us", "total_us", "missed", "stage_us", "lane", "node", "attempts", "direct", "batch", "units", "first_us", "chunks", "blame", "tier", "trace_id", "decision", "fallback", "caller", "won")
    OBJECTIVE_US_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    STAGE_US_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    DIRECT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    FIRST_US_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    BLAME_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    FALLBACK_FIELD_NUMBER: _ClassVar[int]
    CALLER_FIELD_NUMBER: _ClassVar[int]
    WON_FIELD_NUMBER: _ClassVar[int]
    objective_us: int
    deadline_us: int
    total_us: int
    missed: bool
    stage_us: _containers.RepeatedScalarFieldContainer[int]
    lane: str
    node: str
    attempts: int
    direct: bool
    batch: BatchInfo
    units: int
    first_us: int
    chunks: int
    blame: Stage
    tier: str
    trace_id: bytes
    decision: Decision
    fallback: Fallback
    caller: str
    won: int
    def __init__(self, objective_us: _Optional[int] = ..., deadline_us: _Optional[int] = ..., total_us: _Optional[int] = ..., missed: _Optional[bool] = ..., stage_us: _Optional[_Iterable[int]] = ..., lane: _Optional[str] = ..., node: _Optional[str] = ..., attempts: _Optional[int] = ..., direct: _Optional[bool] = ..., batch: _Optional[_Union[BatchInfo, _Mapping]] = ..., units: _Optional[int] = ..., first_us: _Optional[int] = ..., chunks: _Optional[int] = ..., blame: _Optional[_Union[Stage, str]] = ..., tier: _Optional[str] = ..., trace_id: _Optional[bytes] = ..., decision: _Optional[_Union[Decision, _Mapping]] = ..., fallback: _Optional[_Union[Fallback, _Mapping]] = ..., caller: _Optional[str] = ..., won: _Optional[int] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("why", "expected_us", "quantile_us", "cost", "device", "joules", "target", "retry_after_us", "held_us")
    WHY_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_US_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_US_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    JOULES_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_US_FIELD_NUMBER: _ClassVar[int]
    HELD_US_FIELD_NUMBER: _ClassVar[int]
    why: str
    expected_us: int
    quantile_us: int
    cost: float
    device: str
    joules: float
    target: float
    retry_after_us: int
    held_us: int
    def __init__(self, why: _Optional[str] = ..., expected_us: _Optional[int] = ..., quantile_us: _Optional[int] = ..., cost: _Optional[float] = ..., device: _Optional[str] = ..., joules: _Optional[float] = ..., target: _Optional[float] = ..., retry_after_us: _Optional[int] = ..., held_us: _Optional[int] = ...) -> None: ...

class Fallback(_message.Message):
    __slots__ = ("source", "route", "age_ms", "reason")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    AGE_MS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    source: str
    route: str
    age_ms: int
    reason: str
    def __init__(self, source: _Optional[str] = ..., route: _Optional[str] = ..., age_ms: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class BatchInfo(_message.Message):
    __slots__ = ("jobs", "units", "closed_by", "trace_id", "span_id")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    CLOSED_BY_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    units: int
    closed_by: str
    trace_id: bytes
    span_id: bytes
    def __init__(self, jobs: _Optional[int] = ..., units: _Optional[int] = ..., closed_by: _Optional[str] = ..., trace_id: _Optional[bytes] = ..., span_id: _Optional[bytes] = ...) -> None: ...
