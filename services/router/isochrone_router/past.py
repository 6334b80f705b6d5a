"""A request that is over, as it is told of to whoever counts, remembers or traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from isochrone.rpc import Call
from isochrone.starting import Chunks, Done, Leave
from isochrone.tracing import Place
from isochrone.v1 import budget_pb2, link_pb2


class Try(NamedTuple):
    """An attempt that was given up for another. Seconds on this process's clock."""

    node: str
    """Empty where it waited in the lane."""
    sent_s: float
    ended_s: float
    why: str
    """What had another sent: "its node is gone"."""


class Past(NamedTuple):
    """One request from its arrival to its end; a fan-out with its legs."""

    route: str
    code: str
    """A gRPC code's name; "CANCELLED" where its caller left."""
    reason: str
    """Of an error that has one: "QUEUE_FULL"."""
    received_s: float
    """On this process's clock, from which the report's stages go on."""
    report: budget_pb2.BudgetReport
    place: Place
    peer: link_pb2.Welcome | None = None
    """The node that answered it, as it introduced itself."""
    tries: tuple[Try, ...] = ()
    predicted_us: int = 0
    """From its claim to its reply, by the node's own word; 0: it said none."""
    leg: str = ""
    """Its name, where it was part of a fan-out."""
    legs: tuple[Past, ...] = ()

    @property
    def is_in_order(self) -> bool:
        """Answered, once sent, and in time; and so were its legs."""
        return (
            self.code in ("OK", "CANCELLED")
            and not self.report.missed
            and self.report.attempts <= 1
            and (not self.legs or all(leg.is_in_order for leg in self.legs))
        )

    @property
    def verdict(self) -> str:
        """ "met", "missed", "failed", or "cancelled" where its caller left."""
        if self.code == "CANCELLED":
            return "cancelled"
        if self.code != "OK":
            return "failed"
        return "missed" if self.report.missed else "met"

    @property
    def is_miss(self) -> bool:
        """It had no answer in time, though its caller waited."""
        return self.report.missed if self.code == "OK" else self.code != "CANCELLED"


Tell = Callable[[Past], None]
"""Is told of each request, once, when it is over and its answer has left."""


class StartTold(Protocol):
    """A Start whose requests are told of to somebody else, where `tell` says so: to the whole that they are part of."""

    def __call__(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave: ...
