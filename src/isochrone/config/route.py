"""A route: one RPC method, its SLA, and who may answer it."""

from __future__ import annotations

from pydantic import Field, model_validator

from isochrone.config.fallback import FallbackConfig
from isochrone.config.fields import LaneName, PositiveMs, Section


class RouteConfig(Section):
    """One RPC method and its SLA."""

    objective_ms: PositiveMs
    """What is planned for, measured and blamed."""
    target: float = Field(default=0.999, gt=0, lt=1)
    """The fraction of answers that should meet the objective."""
    deadline_ms: PositiveMs
    """Past it the answer is worthless; a caller's shorter gRPC deadline takes its place."""
    lanes: tuple[LaneName, ...] = Field(min_length=1)
    """Variants on device classes that may answer it. Among those that will be in time the cheapest does; where they
    cost the same, the first."""
    smaller: tuple[LaneName, ...] = ()
    """Lanes of lesser variants, which answer where none of those would be in time."""
    hold: float = Field(default=0.5, ge=0, le=0.9)
    """The part of the time to spare that a request waits for company before it goes to a dearer device than the
    cheapest: a batch of a few costs it nearly as much as a full one. 0: none waits."""
    fallback: tuple[FallbackConfig, ...] = ()
    """What answers where nobody does, in order of preference."""

    @property
    def all_lanes(self) -> tuple[str, ...]:
        """Those and the smaller ones."""
        return (*self.lanes, *self.smaller)

    @model_validator(mode="after")
    def _lanes_given_once(self) -> RouteConfig:
        if len(set(self.all_lanes)) < len(self.all_lanes):
            raise ValueError("lanes and smaller name a lane twice")
        return self

    @model_validator(mode="after")
    def _objective_within_deadline(self) -> RouteConfig:
        if self.objective_ms > self.deadline_ms:
            raise ValueError(
                f"objective_ms ({self.objective_ms:g}) should be at most deadline_ms ({self.deadline_ms:g})"
            )
        return self
