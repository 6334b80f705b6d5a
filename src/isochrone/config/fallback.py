"""What answers for a route that fails: its last good answer, a fixed one, or another route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.rpc import code_pb2
from pydantic import Field, field_validator, model_validator

from isochrone.config.fields import PositiveMs, RouteName, Section
from isochrone.errors import REASONS, IsochroneError
from isochrone.status import code_of

STOOD_IN_FOR = ("RESOURCE_EXHAUSTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL")
"""Codes of failures that the caller can't mend."""
ONLY_BY_NAME = frozenset({"DRAINING"})
"""Reasons with such a code that are stood in for only where they are named: where this router leaves, another has the
real answer."""
_NEVER = frozenset(
    {
        "QUOTA",  # who is past it is to know, and not to be served for nothing
        *("INVALID_REQUEST", "UNKNOWN_ROUTE", "UNKNOWN_VARIANT", "CANCELLED", "TIER_DENIED"),
        *("NO_CREDENTIALS", "MALFORMED_TOKEN", "UNKNOWN_CALLER", "REVOKED"),
    }
)
_WORDS = frozenset(STOOD_IN_FOR) | (REASONS - _NEVER)


class LastGoodConfig(Section):
    """The last answer to the same request, of the same caller."""

    ttl_s: float = Field(default=300, ge=0.001, le=30 * 86400, allow_inf_nan=False)
    """An older one is none."""


class StaticConfig(Section):
    """One answer for everybody. One of these; in a file that ends in .json, the message as JSON, else its bytes."""

    message: Any = None
    """The answer's message as protobuf's JSON has it. For an answer that streams: its chunks, a list of messages."""
    file: Path | None = None
    """From the working directory."""
    base64: str | None = None
    """The message's bytes, for services that are not known here."""

    @model_validator(mode="after")
    def _given_once(self) -> StaticConfig:
        if sum(given is not None for given in (self.message, self.file, self.base64)) != 1:
            raise ValueError("should have one of message, file and base64")
        return self


class FallbackConfig(Section):
    """One way to an answer, where the route itself has none."""

    last_good: LastGoodConfig | None = None
    static: StaticConfig | None = None
    route: RouteName | None = None
    """Another route, which takes the same request and gives the same answer."""
    reserve_ms: PositiveMs | None = None
    """What is kept of a request's time for the other route; unset, that route's objective."""
    when: tuple[str, ...] = Field(default=STOOD_IN_FOR, min_length=1)
    """What it stands in for: gRPC codes, reasons, or both. Never for what the caller has to mend. (`on` would be a
    boolean: YAML.)"""

    @model_validator(mode="after")
    def _one_source(self) -> FallbackConfig:
        if sum(given is not None for given in (self.last_good, self.static, self.route)) != 1:
            raise ValueError("should have one of last_good, static and route")
        if self.reserve_ms is not None and self.route is None:
            raise ValueError("reserve_ms is for another route")
        return self

    @field_validator("when")
    @classmethod
    def _known_words(cls, when: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(when) - _WORDS)
        if unknown:
            raise ValueError(f"nothing stands in for {', '.join(unknown)}; known: {', '.join(sorted(_WORDS))}")
        return when

    def covers(self, error: IsochroneError) -> bool:
        """Whether it stands in for that failure."""
        code = code_pb2.Code.Name(code_of(error))
        if code not in STOOD_IN_FOR or error.reason in _NEVER:  # a model may give its own kinds of error any reason
            return False
        return error.reason in self.when or (code in self.when and error.reason not in ONLY_BY_NAME)
