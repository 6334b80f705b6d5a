"""A page in one call: several requests side by side, answered with what has arrived in time.

Each leg is a request like any other, planned and answered by itself, against a deadline that leaves the whole a
margin. So nothing here watches the clock: when the time is up every leg has ended, one way or the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from google.protobuf import any_pb2

from isochrone.deadline import Clock
from isochrone.errors import IsochroneError, Unavailable
from isochrone.methods import streams
from isochrone.rpc import Call
from isochrone.starting import Ended, Leave, Taken
from isochrone.status import to_status
from isochrone.v1 import budget_pb2, router_pb2
from isochrone_router.legs import answer_type
from isochrone_router.past import Past, StartTold
from isochrone_router.wire import WireError, moved

MARGIN_S = 0.0005
"""Legs end this long before the whole does: their answers have to be put together."""

Tell = Callable[[router_pb2.LegResult, Taken], None]


class Gathered(NamedTuple):
    """The end of a fan-out: one result for each leg, in their order, or the error of one that was required."""

    results: Sequence[router_pb2.LegResult]
    error: IsochroneError | None


class FanOut:
    """One call's legs, from the first that starts to the last that ends."""

    def __init__(
        self,
        call: Call,
        legs: Sequence[router_pb2.Leg],
        *,
        start: StartTold,
        clock: Clock,
        tell: Tell,
        done: Callable[[Gathered], None],
    ) -> None:
        """`tell` is told of each leg as it ends, and of the chunks of those that stream; `done` once of all of them."""
        self._call = call
        self._legs = {leg.name: leg for leg in legs}
        self._takers = [leg for leg in legs if leg.takes]
        self._start = start
        self._clock = clock
        self._tell = tell
        self._done = done
        self._under_way: dict[str, Leave | None] = {}
        self._answers: dict[str, bytes] = {}
        self._streaming: set[str] = set()
        self._results: dict[str, router_pb2.LegResult] = {}
        self._over = False
        self.pasts: list[Past] = []
        """Legs that were started and are over, as they are told of."""

    def __repr__(self) -> str:
        return f"<FanOut {len(self._results)} of {len(self._legs)} legs ended>"

    @property
    def is_over(self) -> bool:
        """Whether all is told, or its caller has gone."""
        return self._over

    def begin(self) -> None:
        """Starts the legs that wait for no other."""
        for leg in list(self._legs.values()):
            if not leg.takes and not self._over:
                self._begin(leg, leg.request.value)

    def leave(self) -> None:
        """Nobody waits any more."""
        self._over = True
        for leave in self._under_way.values():
            if leave is not None:
                leave()
        self._under_way.clear()

    def _begin(self, leg: router_pb2.Leg, request: bytes) -> None:
        now_s = self._clock()
        limits_s = []
        if self._call.deadline_s is not None:
            limits_s.append(self._call.deadline_s - MARGIN_S)
        if leg.timeout_us:
            limits_s.append(now_s + leg.timeout_us / 1e6)
        call = Call(
            route=leg.route,
            request=request,
            received_s=now_s,
            deadline_s=min(limits_s) if limits_s else None,
            variant=leg.variant or None,
            tier=self._call.tier,
            traceparent=self._call.traceparent,
            tracestate=self._call.tracestate,
            credentials=self._call.credentials,
            caller=self._call.caller,
        )
        self._under_way[leg.name] = None
        try:
            chunks = partial(self._chunk, leg) if streams(leg.route) else None
            leave = self._start(call, partial(self._ended, leg), chunks, tell=partial(self._told, leg))
        except IsochroneError as error:
            self._missed(leg, error, error.budget)
            return
        if leg.name in self._under_way:
            self._under_way[leg.name] = leave

    def _told(self, leg: router_pb2.Leg, past: Past) -> None:
        self.pasts.append(past._replace(leg=leg.name))

    def _chunk(self, leg: router_pb2.Leg, payload: bytes, taken: Taken) -> None:
        self._streaming.add(leg.name)
        answer = any_pb2.Any(type_url=answer_type(leg.route), value=payload)
        self._tell(router_pb2.LegResult(name=leg.name, outcome=router_pb2.LEG_OUTCOME_CHUNK, answer=answer), taken)

    def _ended(self, leg: router_pb2.Leg, what: Ended) -> None:
        if what.error is not None:
            self._missed(leg, what.error, what.budget)
            return
        self._answers[leg.name] = what.payload
        answer = None
        if not streams(leg.route):
            answer = any_pb2.Any(type_url=answer_type(leg.route), value=what.payload)
        # What its route fell back on is an answer as well: others may take from it, and a page that needs it is whole.
        stood_in = what.budget.HasField("fallback")
        outcome = router_pb2.LEG_OUTCOME_FALLBACK if stood_in else router_pb2.LEG_OUTCOME_OK
        self._settle(leg, outcome, answer=answer, budget=what.budget)

    def _missed(self, leg: router_pb2.Leg, error: IsochroneError, budget: budget_pb2.BudgetReport | None) -> None:
        # In place of an answer, not on top of a part of one.
        has_fallback = leg.HasField("fallback") and leg.name not in self._streaming
        if leg.required and not has_fallback:
            self.leave()
            error.message = f"leg {leg.name!r}: {error.message}"
            self._done(Gathered((), error))
            return
        outcome = router_pb2.LEG_OUTCOME_FALLBACK if has_fallback else router_pb2.LEG_OUTCOME_MISSED
        answer = leg.fallback if has_fallback else None
        self._settle(leg, outcome, answer=answer, status=to_status(error).SerializeToString(), budget=budget)

    def _settle(
        self,
        leg: router_pb2.Leg,
        outcome: router_pb2.LegOutcome,
        *,
        answer: any_pb2.Any | None,
        status: bytes = b"",
        budget: budget_pb2.BudgetReport | None,
    ) -> None:
        self._under_way.pop(leg.name, None)
        result = router_pb2.LegResult(name=leg.name, outcome=outcome, answer=answer, status=status, budget=budget)
        self._results[leg.name] = result
        self._tell(result, _nothing)
        for other in self._takers:
            if self._over:
                return
            if other.name not in self._results and other.name not in self._under_way:
                self._begin_if_ready(other)
        if len(self._results) == len(self._legs) and not self._over:
            self._over = True
            self._done(Gathered([self._results[name] for name in self._legs], None))

    def _begin_if_ready(self, leg: router_pb2.Leg) -> None:
        """A leg starts once all that it takes from have ended."""
        if any(take.leg not in self._results for take in leg.takes):
            return
        request = [leg.request.value]
        for take in leg.takes:
            answer = self._answers.get(take.leg)
            try:
                taken = b"" if answer is None else moved(answer, field=take.field, to=take.into, most=take.most)
            except WireError as error:
                taken = b""
                reason = f"the answer of leg {take.leg!r} can't be read: {error}"
            else:
                reason = f"leg {take.leg!r} has no field {take.field} to take"
            if not taken and not take.optional:
                self._missed(leg, Unavailable(reason, reason="NOTHING_TO_TAKE"), None)
                return
            request.append(taken)
        self._begin(leg, b"".join(request))


def _nothing() -> None:
    """A leg's end is small, and there is one of each."""
