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
    __slots__ = ("objective_us", "deadline_us", "total_us", "missed", "stage_us", "lane", "node", "attempts", "direct", "batch", "units", "first_us", "chunks", "blame", "tier", "trace_id")
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
    def __init__(self, objective_us: _Optional[int] = ..., deadline_us: _Optional[int] = ..., total_us: _Optional[int] = ..., missed: _Optional[bool] = ..., stage_us: _Optional[_Iterable[int]] = ..., lane: _Optional[str] = ..., node: _Optional[str] = ..., attempts: _Optional[int] = ..., direct: _Optional[bool] = ..., batch: _Optional[_Union[BatchInfo, _Mapping]] = ..., units: _Optional[int] = ..., first_us: _Optional[int] = ..., chunks: _Optional[int] = ..., blame: _Optional[_Union[Stage, str]] = ..., tier: _Optional[str] = ..., trace_id: _Optional[bytes] = ...) -> None: ...

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
