from isochrone.v1 import budget_pb2 as _budget_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Job(_message.Message):
    __slots__ = ("version", "router", "id", "epoch", "attempt", "route", "objective_us", "deadline_us", "weight", "payload", "ticket_bytes", "lane", "credits", "traceparent", "tracestate", "tier")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_US_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_US_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    TICKET_BYTES_FIELD_NUMBER: _ClassVar[int]
    LANE_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    TRACESTATE_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    version: int
    router: int
    id: int
    epoch: int
    attempt: int
    route: str
    objective_us: int
    deadline_us: int
    weight: int
    payload: bytes
    ticket_bytes: int
    lane: str
    credits: int
    traceparent: str
    tracestate: str
    tier: str
    def __init__(self, version: _Optional[int] = ..., router: _Optional[int] = ..., id: _Optional[int] = ..., epoch: _Optional[int] = ..., attempt: _Optional[int] = ..., route: _Optional[str] = ..., objective_us: _Optional[int] = ..., deadline_us: _Optional[int] = ..., weight: _Optional[int] = ..., payload: _Optional[bytes] = ..., ticket_bytes: _Optional[int] = ..., lane: _Optional[str] = ..., credits: _Optional[int] = ..., traceparent: _Optional[str] = ..., tracestate: _Optional[str] = ..., tier: _Optional[str] = ...) -> None: ...

class RouterFrames(_message.Message):
    __slots__ = ("hello", "submits", "cancels", "payloads", "pong", "epoch", "drain", "credits")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    SUBMITS_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    PAYLOADS_FIELD_NUMBER: _ClassVar[int]
    PONG_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    submits: _containers.RepeatedCompositeFieldContainer[Job]
    cancels: _containers.RepeatedScalarFieldContainer[int]
    payloads: _containers.RepeatedCompositeFieldContainer[Payload]
    pong: Pong
    epoch: int
    drain: bool
    credits: _containers.RepeatedCompositeFieldContainer[Credit]
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., submits: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., cancels: _Optional[_Iterable[int]] = ..., payloads: _Optional[_Iterable[_Union[Payload, _Mapping]]] = ..., pong: _Optional[_Union[Pong, _Mapping]] = ..., epoch: _Optional[int] = ..., drain: _Optional[bool] = ..., credits: _Optional[_Iterable[_Union[Credit, _Mapping]]] = ...) -> None: ...

class NodeFrames(_message.Message):
    __slots__ = ("welcome", "claims", "fetches", "batches", "ping", "drain", "state", "returns", "chunks")
    WELCOME_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    FETCHES_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    PING_FIELD_NUMBER: _ClassVar[int]
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RETURNS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    welcome: Welcome
    claims: _containers.RepeatedCompositeFieldContainer[Claim]
    fetches: _containers.RepeatedScalarFieldContainer[int]
    batches: _containers.RepeatedCompositeFieldContainer[BatchDone]
    ping: Ping
    drain: bool
    state: NodeState
    returns: _containers.RepeatedScalarFieldContainer[int]
    chunks: _containers.RepeatedCompositeFieldContainer[Chunk]
    def __init__(self, welcome: _Optional[_Union[Welcome, _Mapping]] = ..., claims: _Optional[_Iterable[_Union[Claim, _Mapping]]] = ..., fetches: _Optional[_Iterable[int]] = ..., batches: _Optional[_Iterable[_Union[BatchDone, _Mapping]]] = ..., ping: _Optional[_Union[Ping, _Mapping]] = ..., drain: _Optional[bool] = ..., state: _Optional[_Union[NodeState, _Mapping]] = ..., returns: _Optional[_Iterable[int]] = ..., chunks: _Optional[_Iterable[_Union[Chunk, _Mapping]]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("version_min", "version_max", "router", "name", "epoch", "mesh", "router_us")
    VERSION_MIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_MAX_FIELD_NUMBER: _ClassVar[int]
    ROUTER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    ROUTER_US_FIELD_NUMBER: _ClassVar[int]
    version_min: int
    version_max: int
    router: int
    name: str
    epoch: int
    mesh: str
    router_us: int
    def __init__(self, version_min: _Optional[int] = ..., version_max: _Optional[int] = ..., router: _Optional[int] = ..., name: _Optional[str] = ..., epoch: _Optional[int] = ..., mesh: _Optional[str] = ..., router_us: _Optional[int] = ...) -> None: ...

class Welcome(_message.Message):
    __slots__ = ("version", "node", "name", "device", "variants", "refusal", "service", "host")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    version: int
    node: int
    name: str
    device: str
    variants: _containers.RepeatedCompositeFieldContainer[Variant]
    refusal: str
    service: str
    host: str
    def __init__(self, version: _Optional[int] = ..., node: _Optional[int] = ..., name: _Optional[str] = ..., device: _Optional[str] = ..., variants: _Optional[_Iterable[_Union[Variant, _Mapping]]] = ..., refusal: _Optional[str] = ..., service: _Optional[str] = ..., host: _Optional[str] = ...) -> None: ...

class Variant(_message.Message):
    __slots__ = ("lane", "variant", "routes", "unit", "max_units", "batch_units", "batch_jobs", "latency")
    LANE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MAX_UNITS_FIELD_NUMBER: _ClassVar[int]
    BATCH_UNITS_FIELD_NUMBER: _ClassVar[int]
    BATCH_JOBS_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    lane: str
    variant: str
    routes: _containers.RepeatedScalarFieldContainer[str]
    unit: str
    max_units: int
    batch_units: int
    batch_jobs: int
    latency: Latency
    def __init__(self, lane: _Optional[str] = ..., variant: _Optional[str] = ..., routes: _Optional[_Iterable[str]] = ..., unit: _Optional[str] = ..., max_units: _Optional[int] = ..., batch_units: _Optional[int] = ..., batch_jobs: _Optional[int] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ...) -> None: ...

class Latency(_message.Message):
    __slots__ = ("base_us", "per_unit_us", "spread")
    BASE_US_FIELD_NUMBER: _ClassVar[int]
    PER_UNIT_US_FIELD_NUMBER: _ClassVar[int]
    SPREAD_FIELD_NUMBER: _ClassVar[int]
    base_us: float
    per_unit_us: float
    spread: float
    def __init__(self, base_us: _Optional[float] = ..., per_unit_us: _Optional[float] = ..., spread: _Optional[float] = ...) -> None: ...

class NodeState(_message.Message):
    __slots__ = ("claiming", "backlog_jobs", "backlog_units", "lanes", "round_trip_us", "busy_us")
    CLAIMING_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_JOBS_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_UNITS_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    ROUND_TRIP_US_FIELD_NUMBER: _ClassVar[int]
    BUSY_US_FIELD_NUMBER: _ClassVar[int]
    claiming: _containers.RepeatedScalarFieldContainer[str]
    backlog_jobs: int
    backlog_units: int
    lanes: _containers.RepeatedCompositeFieldContainer[LaneState]
    round_trip_us: int
    busy_us: int
    def __init__(self, claiming: _Optional[_Iterable[str]] = ..., backlog_jobs: _Optional[int] = ..., backlog_units: _Optional[int] = ..., lanes: _Optional[_Iterable[_Union[LaneState, _Mapping]]] = ..., round_trip_us: _Optional[int] = ..., busy_us: _Optional[int] = ...) -> None: ...

class LaneState(_message.Message):
    __slots__ = ("lane", "latency", "jobs", "batches", "units", "mean_units", "mean_jobs", "engine", "backlog_jobs", "backlog_units", "stands_back", "dropped", "compute_s", "wasted_s")
    LANE_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    MEAN_UNITS_FIELD_NUMBER: _ClassVar[int]
    MEAN_JOBS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_JOBS_FIELD_NUMBER: _ClassVar[int]
    BACKLOG_UNITS_FIELD_NUMBER: _ClassVar[int]
    STANDS_BACK_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_S_FIELD_NUMBER: _ClassVar[int]
    WASTED_S_FIELD_NUMBER: _ClassVar[int]
    lane: str
    latency: Latency
    jobs: int
    batches: int
    units: int
    mean_units: float
    mean_jobs: float
    engine: EngineState
    backlog_jobs: int
    backlog_units: int
    stands_back: bool
    dropped: int
    compute_s: float
    wasted_s: float
    def __init__(self, lane: _Optional[str] = ..., latency: _Optional[_Union[Latency, _Mapping]] = ..., jobs: _Optional[int] = ..., batches: _Optional[int] = ..., units: _Optional[int] = ..., mean_units: _Optional[float] = ..., mean_jobs: _Optional[float] = ..., engine: _Optional[_Union[EngineState, _Mapping]] = ..., backlog_jobs: _Optional[int] = ..., backlog_units: _Optional[int] = ..., stands_back: _Optional[bool] = ..., dropped: _Optional[int] = ..., compute_s: _Optional[float] = ..., wasted_s: _Optional[float] = ...) -> None: ...

class EngineState(_message.Message):
    __slots__ = ("active", "waiting", "kv_used", "kv_room")
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    KV_USED_FIELD_NUMBER: _ClassVar[int]
    KV_ROOM_FIELD_NUMBER: _ClassVar[int]
    active: int
    waiting: int
    kv_used: int
    kv_room: int
    def __init__(self, active: _Optional[int] = ..., waiting: _Optional[int] = ..., kv_used: _Optional[int] = ..., kv_room: _Optional[int] = ...) -> None: ...

class Claim(_message.Message):
    __slots__ = ("jobs", "finish_in_us", "beside")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    FINISH_IN_US_FIELD_NUMBER: _ClassVar[int]
    BESIDE_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedScalarFieldContainer[int]
    finish_in_us: int
    beside: bool
    def __init__(self, jobs: _Optional[_Iterable[int]] = ..., finish_in_us: _Optional[int] = ..., beside: _Optional[bool] = ...) -> None: ...

class Payload(_message.Message):
    __slots__ = ("job", "data", "gone")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    job: int
    data: bytes
    gone: bool
    def __init__(self, job: _Optional[int] = ..., data: _Optional[bytes] = ..., gone: _Optional[bool] = ...) -> None: ...

class Chunk(_message.Message):
    __slots__ = ("job", "attempt", "number", "payload")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    job: int
    attempt: int
    number: int
    payload: bytes
    def __init__(self, job: _Optional[int] = ..., attempt: _Optional[int] = ..., number: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("job", "chunks")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    job: int
    chunks: int
    def __init__(self, job: _Optional[int] = ..., chunks: _Optional[int] = ...) -> None: ...

class BatchDone(_message.Message):
    __slots__ = ("lane", "batch", "compute_us", "started_us", "replies")
    LANE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    COMPUTE_US_FIELD_NUMBER: _ClassVar[int]
    STARTED_US_FIELD_NUMBER: _ClassVar[int]
    REPLIES_FIELD_NUMBER: _ClassVar[int]
    lane: str
    batch: _budget_pb2.BatchInfo
    compute_us: int
    started_us: int
    replies: _containers.RepeatedCompositeFieldContainer[Reply]
    def __init__(self, lane: _Optional[str] = ..., batch: _Optional[_Union[_budget_pb2.BatchInfo, _Mapping]] = ..., compute_us: _Optional[int] = ..., started_us: _Optional[int] = ..., replies: _Optional[_Iterable[_Union[Reply, _Mapping]]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("job", "attempt", "payload", "status", "claimed_us", "units")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_US_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    job: int
    attempt: int
    payload: bytes
    status: bytes
    claimed_us: int
    units: int
    def __init__(self, job: _Optional[int] = ..., attempt: _Optional[int] = ..., payload: _Optional[bytes] = ..., status: _Optional[bytes] = ..., claimed_us: _Optional[int] = ..., units: _Optional[int] = ...) -> None: ...

class Ping(_message.Message):
    __slots__ = ("node_us",)
    NODE_US_FIELD_NUMBER: _ClassVar[int]
    node_us: int
    def __init__(self, node_us: _Optional[int] = ...) -> None: ...

class Pong(_message.Message):
    __slots__ = ("node_us", "router_us")
    NODE_US_FIELD_NUMBER: _ClassVar[int]
    ROUTER_US_FIELD_NUMBER: _ClassVar[int]
    node_us: int
    router_us: int
    def __init__(self, node_us: _Optional[int] = ..., router_us: _Optional[int] = ...) -> None: ...
