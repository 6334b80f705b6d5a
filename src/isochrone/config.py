"""The one YAML file that describes a mesh, read into frozen objects before anything starts.

Every process gets the same file and takes its own section. What is wrong in it is said with file, line and key,
and with what would be right.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from isochrone.errors import ConfigError

_ROUTE = re.compile(r"^[A-Za-z_][\w.]*\.[A-Za-z_]\w*/[A-Za-z_]\w*$")
_LANE = re.compile(r"^[\w.-]+@[\w-]+$")
_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")
_ADDRESS = re.compile(r"^(unix:.+|(\[[0-9a-fA-F:]+\]|[\w.-]+):\d{1,5})$")


def _matching(pattern: re.Pattern[str], example: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.match(value):
            raise ValueError(f"should look like {example!r}")
        return value

    return AfterValidator(check)


def _redis_url(value: str) -> str:
    if value not in ("embedded", "none") and urlsplit(value).scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            "should be 'embedded', 'none', or a URL: redis://host:6379/0, rediss://…, unix:///run/redis.sock"
        )
    return value


Name = Annotated[str, _matching(_NAME, "recsys-a")]
RouteName = Annotated[str, _matching(_ROUTE, "isochrone.v1.Recsys/Rank")]
LaneName = Annotated[str, _matching(_LANE, "ranker.fp32@cpu")]
Address = Annotated[str, _matching(_ADDRESS, "127.0.0.1:50051")]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]
PositiveMs = Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RedisConfig(_Section):
    """Where the lanes and the registry live."""

    url: RedisUrl = "embedded"
    """'embedded' starts one beside the stack, 'none' goes without. Environment: ISOCHRONE_REDIS_URL."""
    username: str | None = None
    password_env: str = "ISOCHRONE_REDIS_PASSWORD"
    """The environment variable that holds the password; a password in the URL works too."""
    ca_file: Path | None = None
    """Trust for rediss://; the system's where unset."""
    stall_ms: PositiveMs = 50
    """A lane operation that takes longer than this has the router go on over the links alone."""

    def resolved_url(self) -> str:
        return os.environ.get("ISOCHRONE_REDIS_URL") or self.url


class LimitsConfig(_Section):
    """Caps, all kept by refusing what comes past them."""

    inflight: int = Field(default=4096, ge=1)
    """Requests one router process owns at once."""
    inflight_bytes: int = Field(default=256 * 2**20, ge=2**16)
    """Request bytes one router process holds at once."""
    lane_jobs: int = Field(default=2048, ge=1)
    """Jobs waiting in one lane, of all routers."""
    request_bytes: int = Field(default=8 * 2**20, ge=1024)
    """The largest request."""
    inline_bytes: int = Field(default=32 * 1024, ge=0)
    """Requests up to this size ride in the lane; larger ones are fetched over the link when claimed."""


class RouterConfig(_Section):
    """A router process, or several on one port."""

    name: Name = "router"
    listen: Address = "127.0.0.1:50051"
    admin: Address = "127.0.0.1:8080"
    """HTTP: the console at /, /healthz, /readyz, /metrics, /status, /misses, /traces/<id>. Of several processes each
    takes the next port; the console of each shows all."""
    processes: int = Field(default=1, ge=1, le=64)
    nodes: tuple[Address, ...] = ()
    """Nodes to link besides those found in the registry: all there are, without Redis."""
    limits: LimitsConfig = LimitsConfig()
    answer_margin_ms: PositiveMs = 0.5
    """An answer leaves at least this long before the caller's deadline, more where the process is slow."""
    linger_ms: float = Field(default=10.0, ge=0, le=50, allow_inf_nan=False)
    """While jobs of this router wait in a lane unclaimed, or it is short of CPU, the next wait so long for company,
    and at most a fifth of their objective. Otherwise a job goes at once."""
    extra_attempts: float = Field(default=0.05, ge=0, le=1)
    """Second attempts allowed, as a fraction of the requests."""
    drain_s: float = Field(default=10, gt=0, le=600)

    def process_name(self, index: int) -> str:
        """Of one of the processes, as it names itself."""
        return self.name if self.processes == 1 else f"{self.name}-{index}"


class TelemetryConfig(_Section):
    """What is told of requests afterwards, and whom."""

    otlp: str | None = Field(default=None, pattern=r"^https?://[^/]+/?$")
    """Where traces and metrics go, by OTLP over gRPC: "http://127.0.0.1:4317", https:// for TLS. Unset: the standard
    OTEL_EXPORTER_OTLP_ENDPOINT; without that, nowhere."""
    sample: float = Field(default=0.01, ge=0, le=1)
    """The fraction of requests that are traced, of those whose callers didn't decide. Such as miss their objective,
    fail, or were sent twice, are traced whatever was decided."""
    misses_per_s: float = Field(default=20, ge=0, le=1000)
    """At most so many of these a second; of more, the worst."""
    jaeger: str | None = Field(default=None, pattern=r"^https?://")
    """Where people look at traces, for links to them."""

    def endpoint(self) -> str | None:
        """Where to send them; None: nowhere."""
        return self.otlp or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or None


class RouteConfig(_Section):
    """One RPC method and its SLA."""

    objective_ms: PositiveMs
    """What is planned for, measured and blamed."""
    target: float = Field(default=0.999, gt=0, lt=1)
    """The fraction of answers that should meet the objective."""
    deadline_ms: PositiveMs
    """Past it the answer is worthless; a caller's shorter gRPC deadline takes its place."""
    lanes: tuple[LaneName, ...] = Field(min_length=1)
    """Variants on device classes that may answer it, in order of preference."""

    @model_validator(mode="after")
    def _objective_within_deadline(self) -> RouteConfig:
        if self.objective_ms > self.deadline_ms:
            raise ValueError(
                f"objective_ms ({self.objective_ms:g}) should be at most deadline_ms ({self.deadline_ms:g})"
            )
        return self


class NodeConfig(_Section):
    """A group of equal nodes: processes that serve some variants on one device."""

    service: str = Field(min_length=1)
    """'recsys', 'vision', 'llm', 'toy', or the dotted name of a module to run."""
    replicas: int = Field(default=1, ge=1, le=256)
    device: str = Field(default="cpu", pattern=r"^[a-z0-9-]+$")
    listen: Address | None = None
    """Where routers link to it; unset: a Unix socket under `isochrone up`, else 127.0.0.1 and a free port.
    With replicas, each takes the next port."""
    api: Address | None = None
    """Where it serves its models' own API, health and reflection over gRPC; unset: beside `listen`, on a socket
    with `.api` at its end or a free port. With replicas, each takes the next port."""
    advertise: Address | None = None
    """The address that routers dial, where it differs from `listen`."""
    nice: int = Field(default=0, ge=0, le=19)
    """How far it stands back for others on cores that they share: its processes' niceness above that of whoever starts
    them."""
    drain_s: float = Field(default=10, gt=0, le=600)
    options: dict[str, Any] = Field(default_factory=dict)
    """The service's own settings."""


class MeshConfig(_Section):
    """The whole file."""

    mesh: Name = "isochrone"
    """Names the keys in Redis: meshes of different names share nothing."""
    models: Path = Path(".isochrone/models")
    """Where `isochrone models build` puts models and nodes look for them, from the working directory."""
    log: Literal["text", "json"] = "text"
    redis: RedisConfig = RedisConfig()
    router: RouterConfig = RouterConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    routes: dict[RouteName, RouteConfig] = Field(min_length=1)
    nodes: dict[Name, NodeConfig] = Field(default_factory=dict)


_Model = TypeVar("_Model", bound=BaseModel)


def load_config(path: Path) -> MeshConfig:
    """Reads and checks a mesh's file. Raises ConfigError with file, line and key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: can't be read: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, AttributeError, LookupError, RecursionError) as error:
        # Control characters, a 13th month, "!!int" of nothing: PyYAML raises whatever it happens upon.
        raise ConfigError(f"{path}:1: not YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, Mapping):
        raise ConfigError(f"{path}:1: should be a mapping with at least 'routes'")
    _refuse_repeated_keys(path, node, "")
    return validated(MeshConfig, data, where=lambda loc: f"{path}:{_line_of(node, loc)}")


def validated(model: type[_Model], data: Any, *, where: Any) -> _Model:
    """`data` as `model`; `where(location)` says file and line of a key for the message of a ConfigError."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = []
        for problem in error.errors():
            location = problem["loc"]
            key = ".".join(str(part) for part in location if part != "[key]")
            problems.append(f"{where(location)}: {key or 'the file'}: {_in_words(problem, model)}")
        raise ConfigError("\n".join(problems)) from error


def _in_words(problem: Any, model: type[BaseModel]) -> str:
    kind, given = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        known = _known_keys(model, problem["loc"][:-1])
        return f"no such key; known here: {', '.join(sorted(known))}" if known else "no such key"
    if kind == "missing":
        return "is required"
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return message if isinstance(given, Mapping) else f"{message} (it is {given!r})"


def _known_keys(model: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """The keys of the section at a location, through mappings of sections."""
    current: Any = model
    for part in location:
        if isinstance(current, type) and issubclass(current, BaseModel):
            field = current.model_fields.get(str(part))
            current = field.annotation if field else None
        else:  # dict[Name, Section]
            arguments = getattr(current, "__args__", ())
            current = arguments[-1] if arguments else None
    if isinstance(current, type) and issubclass(current, BaseModel):
        return list(current.model_fields)
    return []


def _line_of(node: yaml.Node | None, location: tuple[Any, ...]) -> int:
    """The line of the deepest key of a location that the file has, counted from 1."""
    line = node.start_mark.line if node else 0
    for part in location:
        found = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(part):
                    line, found = key.start_mark.line, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            found = node.value[part]
            line = found.start_mark.line
        if found is None:
            break
        node = found
    return line + 1


def _refuse_repeated_keys(path: Path, node: yaml.Node | None, prefix: str) -> None:
    """YAML readers silently keep the last of two equal keys; a person meant one of them."""
    if isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _refuse_repeated_keys(path, value, f"{prefix}{index}.")
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if key.value in first:
            where = f"{path}:{line}: {prefix}{key.value}"
            raise ConfigError(f"{where}: given twice, first on line {first[key.value]}; keep one")
        first[key.value] = line
        _refuse_repeated_keys(path, value, f"{prefix}{key.value}.")
