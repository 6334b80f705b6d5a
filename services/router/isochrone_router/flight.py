"""A request under way, and the table of all that this process owns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from isochrone.config import LimitsConfig
from isochrone.errors import IsochroneError, Overloaded
from isochrone.keys import Queue, Tier
from isochrone.ledger import Ledger
from isochrone.link.node_link import NodeLink
from isochrone.rpc import Call
from isochrone.starting import Chunks
from isochrone.tracing import Place
from isochrone.v1 import budget_pb2, link_pb2
from isochrone_router.lane_view import LaneView
from isochrone_router.past import Past, Try
from isochrone_router.planner import Plan
from isochrone_router.plans import Option
from isochrone_router.prices import Price

NEVER_S = float("inf")


@dataclass(slots=True, eq=False, repr=False)
class Flight:
    """One request, from its admission to its answer. Times are seconds on this process's clock."""

    id: int
    """Unique in the life of this process."""
    call: Call
    ledger: Ledger
    place: Place
    due_at_s: float
    """What is planned for: its objective, or when its answer must leave, if that is sooner; where it was planned to be
    late, what its place in the lane goes by."""
    deadline_at_s: float
    over: Callable[[Flight], None]
    """Called once, when it has been answered or has failed."""
    job: link_pb2.Job = field(default_factory=link_pb2.Job)
    """What nodes get; made when it has been admitted."""
    chunks: Chunks | None = None
    """Told of the chunks of its answer, where that streams."""
    streams_from: NodeLink | None = None
    """The node whose chunks are handed on, once the first has come."""
    untold: int = 0
    """Chunks that the caller has taken since that node was last told so."""
    payload: bytes = b""
    """Its answer's bytes, once it is over."""
    error: IsochroneError | None = None
    """What it has failed with, in place of an answer."""
    is_over: bool = False
    lane: str = ""
    tier: Tier = Tier.STANDARD
    tries: list[Try] = field(default_factory=list)
    """Attempts that were given up for another."""
    tried_from_s: float = 0.0
    """When the latest attempt was sent."""
    answered_by: NodeLink | None = None
    plan: Plan | None = None
    """Where it was sent first, and what was expected of that."""
    planned_s: float = 0.0
    """When that was."""
    option: Option | None = None
    """The lane of that plan, as its route uses it, where the plan was new: it learns from the answer."""
    alternatives: Sequence[LaneView] = ()
    """Lanes that it may be sent to as well, its own among them."""
    price: Price | None = None
    """What it has cost, once it is over; None where it never ran."""
    claimed_at_s: float = 0.0
    """When its latest holder has said that it has it."""
    predicted_s: float = 0.0
    """From its claim to its reply, by its node's own word."""
    due: float = 0.0
    """Its score in the lane."""
    member: bytes = b""
    """Its bytes in the lane, while a copy of it may be there."""
    holders: list[NodeLink] = field(default_factory=list)
    """Nodes that were given it or have claimed it, the latest last."""
    expires_at_s: float = NEVER_S
    """The last moment at which an answer, even an error, still reaches its caller in time."""
    hedge: int = 0
    """Which attempt was sent while an earlier one might still be answered."""
    overdue_at_s: float = NEVER_S
    """When its latest holder should have answered it, or said that it has it."""

    def __repr__(self) -> str:
        """Never the request itself: it is somebody's."""
        if self.is_over:
            where = "over"
        elif self.holders:
            where = f"on {', '.join(holder.name for holder in self.holders)}"
        else:
            where = "in its lane" if self.in_lane else "nowhere yet"
        return f"<Flight {self.id} {self.call.route} for {self.lane or 'no lane'}, {where}>"

    @property
    def queue(self) -> Queue:
        """Where it waits, if it goes through the lane."""
        return Queue(self.lane, self.tier)

    @property
    def in_lane(self) -> bool:
        """Whether it was given to the lane and no node has said since that it has it."""
        return bool(self.member)

    def past(self, report: budget_pb2.BudgetReport, *, code: str) -> Past:
        """What there is to tell of it, once it is over."""
        return Past(
            route=self.call.route,
            code=code,
            reason=self.error.reason if self.error is not None else "",
            received_s=self.call.received_s,
            report=report,
            place=self.place,
            peer=self.answered_by.welcome if self.answered_by is not None else None,
            tries=tuple(self.tries),
            predicted_us=int(self.predicted_s * 1e6),
            plan=self.plan,
            price=self.price,
        )

    def answer(self, payload: bytes) -> None:
        if not self.is_over:
            self.is_over, self.payload = True, payload
            self.over(self)

    def fail(self, error: IsochroneError) -> None:
        if not self.is_over:
            self.is_over, self.error = True, error
            self.over(self)


class Flights:
    """All requests of this process, within caps of count and bytes."""

    def __init__(self, limits: LimitsConfig) -> None:
        self._limits = limits
        self._flights: dict[int, Flight] = {}
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Flights {len(self._flights)} under way, {self.bytes} bytes>"

    def __len__(self) -> int:
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def get(self, job: int) -> Flight | None:
        return self._flights.get(job)

    def refusal(self, size: int, *, retry_after_s: float) -> IsochroneError | None:
        """Why a request of that many bytes can't be taken in now, if it can't."""
        if len(self._flights) >= self._limits.inflight:
            return Overloaded(
                f"{self._limits.inflight} requests are under way here",
                retry_after_s=retry_after_s,
                reason="INFLIGHT_FULL",
            )
        if self.bytes + size > self._limits.inflight_bytes:
            return Overloaded(
                f"requests under way here hold {self.bytes} of {self._limits.inflight_bytes} bytes",
                retry_after_s=retry_after_s,
                reason="BYTES_FULL",
            )
        return None

    def add(self, flight: Flight) -> None:
        """Puts it on the table; nothing where it is there already."""
        if flight.id not in self._flights:
            self._flights[flight.id] = flight
            self.bytes += len(flight.call.request)

    def remove(self, flight: Flight) -> bool:
        """Takes it off the table; False where it was off already."""
        if self._flights.pop(flight.id, None) is None:
            return False
        self.bytes -= len(flight.call.request)
        return True
