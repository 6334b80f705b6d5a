"""All that the router answers, by method: the routes of its configuration, and fan-outs of them."""

from __future__ import annotations

from isochrone.deadline import Clock
from isochrone.errors import InvalidRequest
from isochrone.rpc import Answered, Call
from isochrone.starting import Chunks, Done, Ended, Leave, Start, Taken, awaited
from isochrone.v1 import budget_pb2, router_pb2
from isochrone_router.fanout import FanOut, Gathered
from isochrone_router.legs import read

SERVICE = "isochrone.v1.Router"
FAN_OUT = f"{SERVICE}/FanOut"
FAN_OUT_STREAM = f"{SERVICE}/FanOutStream"


class Front:
    """A Start for every method."""

    def __init__(self, routes: Start, *, clock: Clock) -> None:
        self._routes = routes
        self._clock = clock

    def start(self, call: Call, done: Done, chunks: Chunks | None = None) -> Leave:
        """A Start."""
        if call.route not in (FAN_OUT, FAN_OUT_STREAM):
            return self._routes(call, done, chunks)
        if (call.route == FAN_OUT_STREAM) != (chunks is not None):
            raise InvalidRequest.of("route", f"{FAN_OUT_STREAM} streams, {FAN_OUT} doesn't")

        def tell(result: router_pb2.LegResult, taken: Taken) -> None:
            if chunks is not None:
                chunks(result.SerializeToString(), taken)

        def gathered(what: Gathered) -> None:
            budget = self._budget(call, what)
            if what.error is not None:
                what.error.budget = budget
                done(Ended(b"", what.error, budget))
            elif chunks is not None:
                done(Ended(b"", None, budget))
            else:
                answer = router_pb2.FanOutResponse(legs=what.results, total_us=budget.total_us)
                done(Ended(answer.SerializeToString(), None, budget))

        legs = read(call.request, may_stream=chunks is not None)
        fan_out = FanOut(call, legs, start=self._routes, clock=self._clock, tell=tell, done=gathered)
        fan_out.begin()
        return fan_out.leave

    async def serve(self, call: Call) -> Answered:
        """Answers a unary call or raises an IsochroneError."""
        return await awaited(self.start, call)

    def _budget(self, call: Call, what: Gathered) -> budget_pb2.BudgetReport:
        """Of the whole: the slowest leg's promise, and the time it took. Where legs stream, theirs are for their first
        chunks: such a page has missed what a leg of it has."""
        total_us = int((self._clock() - call.received_s) * 1e6)
        objective_us = max((result.budget.objective_us for result in what.results), default=0)
        deadline_s = 0.0 if call.deadline_s is None else call.deadline_s - call.received_s
        return budget_pb2.BudgetReport(
            objective_us=objective_us,
            deadline_us=int(min(deadline_s, 3600) * 1e6),
            total_us=total_us,
            missed=what.error is not None or any(result.budget.missed for result in what.results)
            if call.route == FAN_OUT_STREAM
            else total_us > objective_us,
        )
