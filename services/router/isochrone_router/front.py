"""All that the router answers, by method: the routes of its configuration, and fan-outs of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from isochrone.deadline import Clock
from isochrone.errors import IsochroneError
from isochrone.rpc import Answered, Call, call_of, fail
from isochrone.v1 import budget_pb2, router_pb2
from isochrone_router.fanout import FanOut, Gathered, read
from isochrone_router.starting import Done, Ended, Leave, Start, awaited

SERVICE = "isochrone.v1.Router"
FAN_OUT = f"{SERVICE}/FanOut"


class Front:
    """A Start for every method, and the stream of a fan-out's legs."""

    def __init__(self, routes: Start, *, clock: Clock) -> None:
        self._routes = routes
        self._clock = clock

    def start(self, call: Call, done: Done) -> Leave:
        """A Start."""
        if call.route != FAN_OUT:
            return self._routes(call, done)

        def gathered(what: Gathered) -> None:
            done(Ended(*self._put_together(call, what)))

        fan_out = FanOut(
            call, read(call.request), start=self._routes, clock=self._clock, ended=lambda result: None, done=gathered
        )
        fan_out.begin()
        return fan_out.leave

    async def serve(self, call: Call) -> Answered:
        """Answers a unary call or raises an IsochroneError."""
        return await awaited(self.start, call)

    async def stream(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """The FanOutStream method: each leg's result as it comes."""
        results: asyncio.Queue[router_pb2.LegResult | Gathered] = asyncio.Queue()
        try:
            call = call_of(FAN_OUT, request, context, now_s=self._clock())
            fan_out = FanOut(
                call,
                read(request),
                start=self._routes,
                clock=self._clock,
                ended=results.put_nowait,
                done=results.put_nowait,
            )
            fan_out.begin()
            try:
                while not isinstance(result := await results.get(), Gathered):
                    yield result.SerializeToString()
            finally:
                fan_out.leave()
            if result.error is not None:
                raise result.error
        except IsochroneError as error:
            fail(context, error)

    def _put_together(self, call: Call, what: Gathered) -> tuple[bytes, IsochroneError | None, budget_pb2.BudgetReport]:
        """The answer to the whole, or its error, and the budget: the slowest leg's promise, and the time it took."""
        total_us = int((self._clock() - call.received_s) * 1e6)
        objective_us = max((result.budget.objective_us for result in what.results), default=0)
        deadline_s = 0.0 if call.deadline_s is None else call.deadline_s - call.received_s
        budget = budget_pb2.BudgetReport(
            objective_us=objective_us,
            deadline_us=int(min(deadline_s, 3600) * 1e6),
            total_us=total_us,
            missed=total_us > objective_us,
        )
        if what.error is not None:
            what.error.budget = budget
            return b"", what.error, budget
        answer = router_pb2.FanOutResponse(legs=what.results, total_us=total_us)
        return answer.SerializeToString(), None, budget
