"""A request in a simulation, from its arrival to its one end."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

from isochrone.keys import Tier


class Owner(Protocol):
    """The router that received it, as nodes talk to it; `node` is who talks."""

    def claimed(self, node: Any, jobs: Sequence[Job], finish_in_s: float) -> None:
        """It has these now, and expects to be done in so long."""

    def answered(self, node: Any, jobs: Sequence[Job]) -> None: ...
    def dropped(self, node: Any, jobs: Sequence[Job]) -> None: ...
    def lost(self, job: Job, node: Any) -> None:
        """It is gone, and the job with it."""


class End(StrEnum):
    """How a request ends: one of these, once."""

    IN_TIME = "in time"  # answered within its objective
    LATE = "late"  # answered after it, and before its deadline
    REFUSED = "refused"  # by admission, at once
    DROPPED = "dropped"  # could not have been in time for its deadline, and was not run
    EXPIRED = "expired"  # no answer by its deadline
    LOST = "lost"  # its node died, and it was not sent again


NEVER_S = float("inf")


class Job:
    """A request (isochrone.batching.Waiting). Times are seconds of the virtual clock."""

    __slots__ = (
        "arrived_s",
        "attempts",
        "claimed_s",
        "deadline_s",
        "due_s",
        "end",
        "given_s",
        "in_lane",
        "key",
        "lane",
        "node",
        "number",
        "objective_s",
        "overdue_s",
        "promised_s",
        "route",
        "router",
        "spare_s",
        "started_s",
        "tier",
        "units",
        "worthless_s",
    )

    def __init__(
        self,
        number: int,
        *,
        route: int,
        units: int,
        tier: Tier,
        arrived_s: float,
        objective_s: float,
        deadline_s: float,
        drops: bool,
        router: Owner,
    ) -> None:
        self.number = self.key = number
        self.route = route
        self.units = units
        self.tier = tier
        self.arrived_s = arrived_s
        self.promised_s = objective_s
        """Its objective."""
        self.objective_s = objective_s
        """The same, as nodes are told: less the answer's way back."""
        self.due_s = objective_s
        """Its place in the lane: of what is taken in though it will be late, behind all that is in time."""
        self.spare_s = NEVER_S
        """What it may linger for, as far as its plan goes."""
        self.worthless_s = deadline_s
        """When its caller gives up."""
        self.deadline_s = deadline_s if drops else NEVER_S
        """The same, as far as nodes are told: those that drop nothing are told of none."""
        self.router = router
        self.end: End | None = None
        self.lane = ""
        self.node: object | None = None
        """Who has it, once it is claimed."""
        self.attempts = 1
        self.given_s = 0.0
        self.claimed_s = 0.0
        self.started_s = 0.0
        self.overdue_s = NEVER_S
        self.in_lane = False
        """As far as its router knows."""

    def __repr__(self) -> str:
        return f"<Job {self.number} of {self.units} units, {self.end or 'under way'}>"
