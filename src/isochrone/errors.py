"""What can go wrong in the mesh, sorted by who must act.

    the caller mends its request      InvalidRequest, UnknownRoute, UnknownVariant
    the caller says who it is         Unauthenticated, PermissionDenied
    the caller waits and asks again   Overloaded (says when), Unavailable
    nobody: time is up                DeadlineExceeded, Cancelled
    the operator looks at the log     Internal (by its incident id), ConfigError (at start-up)

None of these knows a transport. `isochrone.status` holds the one table that turns them into gRPC codes with
google.rpc details, and back into these types on the client.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

REASONS = frozenset(
    {
        *("INVALID_REQUEST", "UNKNOWN_ROUTE", "UNKNOWN_VARIANT", "DEADLINE_EXCEEDED", "CANCELLED", "INTERNAL"),
        *("QUEUE_FULL", "INFLIGHT_FULL", "BYTES_FULL", "OVERLOAD", "INFEASIBLE_DEADLINE", "QUOTA"),
        *("NO_CREDENTIALS", "MALFORMED_TOKEN", "UNKNOWN_CALLER", "REVOKED", "TIER_DENIED"),
        *("NO_NODE", "NODE_LOST", "STREAM_BROKEN", "CONNECTION_LOST", "DRAINING", "NOTHING_TO_TAKE"),
        *("ENVELOPE_VERSION", "UNKNOWN_LANE"),
    }
)
"""Every `reason` that the mesh itself gives. Models may have more of their own."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of a request that is wrong: where it is, and what would be right."""

    field: str
    description: str


class IsochroneError(Exception):
    """Base of every error the mesh gives a caller."""

    reason: str = "UNKNOWN"
    """A stable word for programs, in the answer's google.rpc.ErrorInfo."""
    may_retry: ClassVar[bool] = False
    """Whether the same request may be sent again, within its deadline, with hope."""

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.budget: Any = None
        """Where the request's budget went, where that is known: a BudgetReport, or its view on the client."""
        if reason is not None:
            self.reason = reason


class InvalidRequest(IsochroneError):
    """The request itself is wrong and will stay wrong: `violations` name the fields."""

    reason = "INVALID_REQUEST"

    def __init__(self, message: str, *, violations: Sequence[FieldViolation] = ()) -> None:
        super().__init__(message)
        self.violations = tuple(violations)

    @classmethod
    def of(cls, field: str, description: str) -> InvalidRequest:
        """The common case: one field is wrong."""
        return cls(f"{field}: {description}", violations=(FieldViolation(field, description),))


class UnknownRoute(IsochroneError):
    """No such method is served here."""

    reason = "UNKNOWN_ROUTE"


class UnknownVariant(IsochroneError):
    """The route exists, but not the model variant that was asked for."""

    reason = "UNKNOWN_VARIANT"


class DeadlineExceeded(IsochroneError):
    """The deadline passed, or would have before an answer. Not to be retried: its time is spent."""

    reason = "DEADLINE_EXCEEDED"


class Cancelled(IsochroneError):
    """The caller went away."""

    reason = "CANCELLED"


class Unauthenticated(IsochroneError):
    """The caller hasn't shown who it is, or nobody here knows it."""

    reason = "NO_CREDENTIALS"


class PermissionDenied(IsochroneError):
    """The caller is known, and may not do this."""

    reason = "TIER_DENIED"


class Overloaded(IsochroneError):
    """A cap or quota is reached, or no answer would come in time: the request was refused before it cost anything."""

    reason = "QUEUE_FULL"
    may_retry = True

    def __init__(self, message: str, *, retry_after_s: float, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class Unavailable(IsochroneError):
    """Nothing alive could answer: no node serves the route, or the one that had the request is gone."""

    reason = "NO_NODE"
    may_retry = True


class Internal(IsochroneError):
    """A fault of the mesh or of a model. The text stays in the log, under `incident`."""

    reason = "INTERNAL"

    def __init__(self, incident: str) -> None:
        super().__init__(f"internal error, incident {incident}")
        self.incident = incident


class ConfigError(IsochroneError):
    """The configuration can't be used; the message says where and what would be right."""

    reason = "CONFIG"
