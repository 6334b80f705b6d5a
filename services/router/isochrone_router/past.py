"""A request that is over, as it is told of to whoever counts, remembers or traces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from isochrone.rpc import Call
from isochrone.starting import Chunks, Done, Leave
from isochrone.tracing import Place
from isochrone.v1 import budget_pb2, link_pb2
from isochrone_router.planner import Plan
from isochrone_router.prices import Price


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
    """Of an error that has one: "QUEUE_FULL". Of an answer that is a fallback: what it stands in for."""
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
    """Its name, where it was part of a fan-out; "fallback", where it was to stand in for another."""
    plan: Plan | None = None
    """Where it was sent first, and what was expected of that; None where it was refused, and of a fan-out."""
    price: Price | None = None
    """What it has cost; None where it never ran."""
    legs: tuple[Past, ...] = ()
    """Requests that it is made of, or that were to stand in for it."""

    @property
    def parts(self) -> Iterator[Past]:
        """Itself, its legs, and theirs."""
        yield self
        for leg in self.legs:
            yield from leg.parts

    @property
    def is_fallback(self) -> bool:
        """It was answered, by what stands in for its own answer."""
        return self.code == "OK" and self.report.HasField("fallback")

    @property
    def is_in_order(self) -> bool:
        """Answered, once sent, in time and by its own answer; and so were its legs."""
        return (
            self.code in ("OK", "CANCELLED")
            and not self.report.missed
            and not self.is_fallback
            and self.report.attempts <= 1
            and (not self.legs or all(leg.is_in_order for leg in self.legs))
        )

    @property
    def is_turned_away(self) -> bool:
        """Its caller isn't known, may not use its tier, or has used its quota up: the mesh had nothing to do with it.
        Of a fan-out, all its legs."""
        if self.legs:
            return all(leg.is_turned_away for leg in self.legs)
        return self.code in _TURNED_AWAY or (self.code == "RESOURCE_EXHAUSTED" and self.reason == "QUOTA")

    @property
    def verdict(self) -> str:
        """ "met", "missed", "failed", "fallback", or "cancelled" where its caller left."""
        if self.code == "CANCELLED":
            return "cancelled"
        if self.code != "OK":
            return "failed"
        if self.is_fallback:
            return "fallback"
        return "missed" if self.report.missed else "met"

    @property
    def is_miss(self) -> bool:
        """It had no answer of its own in time, though its caller waited."""
        if self.code == "OK":
            return self.report.missed or self.is_fallback
        return self.code != "CANCELLED"


_TURNED_AWAY = frozenset({"UNAUTHENTICATED", "PERMISSION_DENIED"})

Tell = Callable[[Past], None]
"""Is told of each request, once, when it is over and its answer has left."""


class StartTold(Protocol):
    """A Start whose requests are told of to somebody else, where `tell` says so: to the whole that they are part of."""

    def __call__(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave: ...
