"""The one table between errors and gRPC status codes, with google.rpc details.

Used by routers and nodes to say what went wrong, and by clients to raise it again as the same type.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from isochrone.errors import (
    Cancelled,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidRequest,
    IsochroneError,
    Overloaded,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
    UnknownRoute,
    UnknownVariant,
)

DOMAIN = "isochrone"
"""`domain` of every google.rpc.ErrorInfo of the mesh."""

CODES: dict[type[IsochroneError], int] = {
    InvalidRequest: code_pb2.INVALID_ARGUMENT,
    UnknownRoute: code_pb2.UNIMPLEMENTED,
    UnknownVariant: code_pb2.NOT_FOUND,
    DeadlineExceeded: code_pb2.DEADLINE_EXCEEDED,
    Cancelled: code_pb2.CANCELLED,
    Unauthenticated: code_pb2.UNAUTHENTICATED,
    PermissionDenied: code_pb2.PERMISSION_DENIED,
    Overloaded: code_pb2.RESOURCE_EXHAUSTED,
    Unavailable: code_pb2.UNAVAILABLE,
    Internal: code_pb2.INTERNAL,
}
_TYPES = {code: error for error, code in CODES.items()}


def code_of(error: IsochroneError) -> int:
    """Its code. A model's own kinds of these errors count as what they derive from, all others as INTERNAL."""
    code = CODES.get(type(error))
    if code is None:
        code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), code_pb2.INTERNAL)
    return code


def to_status(error: IsochroneError) -> status_pb2.Status:
    """The error as a google.rpc.Status: code, message, ErrorInfo, and what else its kind carries."""
    code = code_of(error)
    if code == code_pb2.INTERNAL and not isinstance(error, Internal):
        error = Internal("unknown")  # a ConfigError, say: its text is for operators alone
    status = status_pb2.Status(code=code, message=error.message)
    if isinstance(error, Internal):
        info = error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN)
        info.metadata["incident"] = error.incident
        status.details.add().Pack(info)
    else:
        status.details.append(_info(error.reason))
    if isinstance(error, InvalidRequest) and error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations:
            bad.field_violations.add(field=violation.field, description=violation.description)
        status.details.add().Pack(bad)
    if isinstance(error, Overloaded):
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def from_status(status: status_pb2.Status) -> IsochroneError:
    """The error that a status stands for; codes the mesh never sends become Unavailable or Internal."""
    error = from_code(status.code, status.message, details=status.details)
    info = _unpacked(status.details, error_details_pb2.ErrorInfo())
    if info is not None and info.domain == DOMAIN:
        error.reason = info.reason
    return error


def from_code(code: int, message: str, *, details: Sequence[any_pb2.Any] = ()) -> IsochroneError:
    """The error for a bare gRPC code, as it comes from a proxy or from gRPC itself."""
    kind = _TYPES.get(code, Unavailable if code == code_pb2.ABORTED else Internal)
    if kind is InvalidRequest:
        bad = _unpacked(details, error_details_pb2.BadRequest())
        found = bad.field_violations if bad is not None else ()
        return InvalidRequest(message, violations=[FieldViolation(v.field, v.description) for v in found])
    if kind is Overloaded:
        retry = _unpacked(details, error_details_pb2.RetryInfo())
        delay_s = retry.retry_delay.ToNanoseconds() / 1e9 if retry is not None else 0.1
        return Overloaded(message, retry_after_s=delay_s)
    if kind is Internal:
        info = _unpacked(details, error_details_pb2.ErrorInfo())
        error = Internal(info.metadata.get("incident", "unknown") if info is not None else "unknown")
        if message:
            error.message = message
            error.args = (message,)
        return error
    return kind(message)


@lru_cache(maxsize=256)
def _info(reason: str) -> any_pb2.Any:
    """An ErrorInfo that says no more than why, packed: under overload most answers have the same."""
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    return packed


_Detail = TypeVar("_Detail", error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo)


def _unpacked(details: Sequence[any_pb2.Any], into: _Detail) -> _Detail | None:
    for detail in details:
        if detail.Is(into.DESCRIPTOR):
            detail.Unpack(into)
            return into
    return None
