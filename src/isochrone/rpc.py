"""The gRPC edge, the same for routers and nodes: methods as bytes, deadlines in, errors and budgets out."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from isochrone.credentials import ANONYMOUS, NONE, Credentials
from isochrone.deadline import Clock
from isochrone.errors import IsochroneError
from isochrone.incidents import incident
from isochrone.status import to_status
from isochrone.tracing import trace_id_of
from isochrone.v1 import budget_pb2

log = logging.getLogger(__name__)

BUDGET_METADATA = "isochrone-budget-bin"
STATUS_METADATA = "grpc-status-details-bin"
VARIANT_METADATA = "isochrone-variant"
TIER_METADATA = "isochrone-tier"

_READ = frozenset({VARIANT_METADATA, TIER_METADATA, "traceparent", "tracestate"})
_CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]


class Call(NamedTuple):
    """A request as it arrived. Times are on this process's monotonic clock."""

    route: str
    request: bytes
    received_s: float
    deadline_s: float | None
    """The caller's own gRPC deadline, if it set one."""
    variant: str | None
    """The model variant it asked for, if it did."""
    tier: str = ""
    """"gold", "standard", "batch"; empty where it didn't say."""
    traceparent: str = ""
    """The caller's, as W3C Trace Context has them; so is the next."""
    tracestate: str = ""
    credentials: Credentials = NONE
    """What its caller has shown of itself, where somebody looks at that."""
    caller: str = ANONYMOUS
    """By its configured name; empty where nobody here knows it."""
    reserve_s: float = 0.0
    """Of its time, what is kept for whoever stands in for its answer."""


class Answered(NamedTuple):
    payload: bytes
    budget: budget_pb2.BudgetReport


Serve = Callable[[Call], Awaitable[Answered]]
"""Answers a call or raises an IsochroneError, with its `budget` where that is known."""


Metadata = Iterable[tuple[str, str | bytes]]
ReadCredentials = Callable[[Metadata, Context], Credentials]
"""What a caller shows, in an RPC's metadata and by its certificate."""


class UnaryEdge:
    """Serves routes that are known by name only: requests and answers pass as bytes."""

    def __init__(self, serve: Serve, *, clock: Clock, credentials: ReadCredentials | None = None) -> None:
        """`credentials` reads what callers show, where somebody looks at that."""
        self._serve = serve
        self._credentials = credentials
        self._clock = clock

    def handler(self, route: str) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of one method."""
        return grpc.unary_unary_rpc_method_handler(self._method(route))

    def _method(self, route: str) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def method(request: bytes, context: Context) -> bytes:
            call = call_of(route, request, context, now_s=self._clock(), credentials=self._credentials)
            try:
                payload, budget = await self._serve(call)
            except IsochroneError as error:
                return fail(context, error)
            except Exception as error:
                return fail(context, incident(route, error, trace_id=trace_id_of(call.traceparent)))
            context.set_trailing_metadata(((BUDGET_METADATA, budget.SerializeToString()),))
            return payload

        return method


def handlers(
    routes: Iterable[str], handler: Callable[[str], grpc.RpcMethodHandler[Any, Any]]
) -> list[grpc.GenericRpcHandler[Any, Any]]:
    """A handler for each service among the routes, of a handler for each of them."""
    services: dict[str, dict[str, Any]] = {}
    for route in sorted(routes):
        service, _, method = route.rpartition("/")
        services.setdefault(service, {})[method] = handler(route)
    return [grpc.method_handlers_generic_handler(service, methods) for service, methods in services.items()]


def call_of(
    route: str, request: bytes, context: Context, *, now_s: float, credentials: ReadCredentials | None = None
) -> Call:
    """A request that has just arrived, with what its metadata say."""
    # gRPC works it out by the wall clock, on the spot: when that is stepped meanwhile, once more is right.
    remaining_s = context.time_remaining() or context.time_remaining()
    metadata: Any = context.invocation_metadata() or ()
    said = {key: value for key, value in metadata if key in _READ and isinstance(value, str)}
    return Call(
        route=route,
        request=request,
        received_s=now_s,
        # gRPC gives an enormous number for "no deadline".
        deadline_s=now_s + as_meant(remaining_s) if remaining_s is not None and remaining_s < 1e8 else None,
        variant=said.get(VARIANT_METADATA),
        tier=said.get(TIER_METADATA, ""),
        traceparent=said.get("traceparent", ""),
        tracestate=said.get("tracestate", ""),
        credentials=NONE if credentials is None else credentials(metadata, context),
    )


def as_meant(remaining_s: float) -> float:
    """The time a caller has left, in seconds, from what its timeout has become on the wire.

    gRPC sends timeouts with three digits and rounds them up: to a millisecond below a second, to ten below ten
    seconds, and so on. What a caller means may be that much sooner, and an answer is to reach it all the same.
    """
    step_s = 0.001
    while remaining_s > 1000 * step_s:
        step_s *= 10
    return remaining_s - step_s


def fail(context: Context, error: IsochroneError) -> bytes:
    """Ends a call with the error's code, details, and budget; gives what the method is to return.

    gRPC's own abort raises, and keeps what it raises: a cycle that holds on to the request until the garbage
    collector comes. So does an error's traceback, through the future that the error came by.
    """
    error.__traceback__ = None
    status = to_status(error)
    metadata: list[tuple[str, str | bytes]] = [(STATUS_METADATA, status.SerializeToString())]
    if error.budget is not None:
        metadata.append((BUDGET_METADATA, error.budget.SerializeToString()))
    context.set_code(_CODES[status.code])
    context.set_details(status.message)
    context.set_trailing_metadata(tuple(metadata))
    return b""


class Health:
    """gRPC health, overall and for each service and route."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._names = {"", *routes, *(route.rpartition("/")[0] for route in routes)}
        self._servicer = HealthServicer()

    def add_to(self, server: grpc.aio.Server) -> None:
        add_HealthServicer_to_server(self._servicer, server)

    async def show(self, serving: Callable[[str], bool]) -> None:
        """Sets each route's status, each service's by any of its routes, and the whole by any at all."""
        for name in self._names:
            up = any(serving(route) for route in self._names if "/" in route and route.startswith(name))
            serving_status = health_pb2.HealthCheckResponse
            await self._servicer.set(name, serving_status.SERVING if up else serving_status.NOT_SERVING)


def add_reflection(server: grpc.aio.Server, routes: Iterable[str], *, also: Iterable[str] = ()) -> None:
    """Lets tools like grpcurl list and call the services, where their descriptors are known here."""
    services = sorted({route.rpartition("/")[0] for route in routes} | set(also))
    names = (*services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)


SERVER_OPTIONS = (
    ("grpc.so_reuseport", 1),
    ("grpc.max_concurrent_streams", 4096),
    ("grpc.http2.max_ping_strikes", 0),  # clients may keep their long-lived connections warm
)


def server_options(*, largest_bytes: int) -> tuple[tuple[str, Any], ...]:
    """Options for a server that takes requests up to that size; larger ones gRPC itself refuses."""
    limit = largest_bytes if largest_bytes > 0 else -1
    return (
        *SERVER_OPTIONS,
        ("grpc.max_receive_message_length", limit),
        ("grpc.max_send_message_length", -1),
    )


def bind(server: grpc.aio.Server, listen: str, credentials: grpc.ServerCredentials | None = None) -> str:
    """Binds the server; gives the address with the port that was really taken."""
    port = server.add_insecure_port(listen) if credentials is None else server.add_secure_port(listen, credentials)
    if listen.startswith("unix:"):
        return listen
    return f"{listen.rpartition(':')[0]}:{port}"
