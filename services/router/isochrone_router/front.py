"""All that the router answers, by method: the routes of its configuration, and fan-outs of them."""

from __future__ import annotations

import asyncio

from google.rpc import code_pb2

from isochrone.deadline import Clock
from isochrone.errors import InvalidRequest, IsochroneError
from isochrone.rpc import Answered, Call
from isochrone.starting import Chunks, Done, Ended, Leave, Taken, awaited
from isochrone.status import code_of
from isochrone.tracing import Place, Sampler
from isochrone.v1 import budget_pb2, router_pb2
from isochrone_router.fanout import FanOut, Gathered
from isochrone_router.gatekeeper import Identify
from isochrone_router.legs import read
from isochrone_router.past import Past, StartTold, Tell

SERVICE = "isochrone.v1.Router"
FAN_OUT = f"{SERVICE}/FanOut"
FAN_OUT_STREAM = f"{SERVICE}/FanOutStream"


class Front:
    """A Start for every method."""

    def __init__(
        self, routes: StartTold, *, sampler: Sampler, tell: Tell, clock: Clock, identify: Identify | None = None
    ) -> None:
        """`identify` says whose a fan-out is; its legs are looked at one by one where they start."""
        self._routes = routes
        self._identify = identify
        self._sampler = sampler
        self._tell = tell
        self._clock = clock

    def start(self, call: Call, done: Done, chunks: Chunks | None = None) -> Leave:
        """A Start."""
        if call.route not in (FAN_OUT, FAN_OUT_STREAM):
            return self._routes(call, done, chunks)
        if (call.route == FAN_OUT_STREAM) != (chunks is not None):
            raise InvalidRequest.of("route", f"{FAN_OUT_STREAM} streams, {FAN_OUT} doesn't")
        return self._fan_out(call, done, chunks)

    async def serve(self, call: Call) -> Answered:
        """Answers a unary call or raises an IsochroneError."""
        return await awaited(self.start, call)

    def _fan_out(self, call: Call, done: Done, chunks: Chunks | None) -> Leave:
        place = self._sampler.place(call.traceparent, call.tracestate)
        if self._identify is not None:
            call, refusal = self._identify(call)
            if refusal is not None:
                refusal.budget = self._budget(call, place, Gathered((), refusal))
                code = code_pb2.Code.Name(code_of(refusal))
                self._tell(Past(call.route, code, refusal.reason, call.received_s, refusal.budget, place))
                raise refusal

        def tell(result: router_pb2.LegResult, taken: Taken) -> None:
            if chunks is not None:
                chunks(result.SerializeToString(), taken)

        def gathered(what: Gathered) -> None:
            budget = self._budget(call, place, what)
            payload = b""
            if what.error is not None:
                what.error.budget = budget
            elif chunks is None:
                payload = router_pb2.FanOutResponse(legs=what.results, total_us=budget.total_us).SerializeToString()
            done(Ended(payload, what.error, budget))
            over(budget, what.error)

        def over(budget: budget_pb2.BudgetReport, error: IsochroneError | None, *, code: str = "") -> None:
            code = code or ("OK" if error is None else code_pb2.Code.Name(code_of(error)))
            # Later in this turn: the leg that ended last has yet to be told of.
            asyncio.get_running_loop().call_soon(self._over, call, place, fan_out, budget, code, error)

        def leave() -> None:
            if not fan_out.is_over:
                fan_out.leave()
                over(self._budget(call, place, Gathered((), None)), None, code="CANCELLED")

        legs = read(call.request, may_stream=chunks is not None)
        below = call._replace(traceparent=str(place.span))
        fan_out = FanOut(below, legs, start=self._routes, clock=self._clock, tell=tell, done=gathered)
        fan_out.begin()
        return leave

    def _over(
        self,
        call: Call,
        place: Place,
        fan_out: FanOut,
        budget: budget_pb2.BudgetReport,
        code: str,
        error: IsochroneError | None,
    ) -> None:
        self._tell(
            Past(
                route=call.route,
                code=code,
                reason="" if error is None else error.reason,
                received_s=call.received_s,
                report=budget,
                place=place,
                legs=tuple(fan_out.pasts),
            )
        )

    def _budget(self, call: Call, place: Place, what: Gathered) -> budget_pb2.BudgetReport:
        """Of the whole: the slowest leg's promise, and the time it took. Where legs stream, theirs are for their first
        chunks: such a page has missed what a leg of it has. To blame is what the slowest of those blames."""
        total_us = int((self._clock() - call.received_s) * 1e6)
        legs = [result.budget for result in what.results]
        objective_us = max((leg.objective_us for leg in legs), default=0)
        deadline_s = 0.0 if call.deadline_s is None else call.deadline_s - call.received_s
        late = [leg for leg in legs if leg.missed]
        is_late = bool(late) if call.route == FAN_OUT_STREAM else total_us > objective_us > 0
        missed = what.error is not None or is_late
        return budget_pb2.BudgetReport(
            objective_us=objective_us,
            deadline_us=int(min(deadline_s, 3600) * 1e6),
            total_us=total_us,
            missed=missed,
            blame=max(late, key=lambda leg: leg.total_us).blame if missed and late else budget_pb2.STAGE_UNSPECIFIED,
            tier=call.tier or "standard",
            caller=call.caller,
            trace_id=place.span.trace_id.to_bytes(16),
        )
