"""The services' own API as a node serves it: a caller can't tell it from a router."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence

from isochrone.deadline import Clock
from isochrone.errors import UnknownVariant
from isochrone.ledger import Ledger
from isochrone.node.intake import Intake
from isochrone.node.served import Served
from isochrone.node.staging import JobKey, Outcome, Ran
from isochrone.rpc import Answered, Call
from isochrone.v1 import budget_pb2

DEADLINE_S = 60.0
"""For callers that set none."""
LONGEST_S = 3600.0
"""The longest that a BudgetReport can tell of, to the hour."""


class LocalCaller:
    """ReplyTo for one call: a future."""

    def __init__(self) -> None:
        self.done: asyncio.Future[tuple[Ran, Outcome]] = asyncio.get_running_loop().create_future()

    def settle(self, ran: Ran, outcomes: Sequence[Outcome]) -> None:
        if not self.done.done():
            self.done.set_result((ran, outcomes[0]))


class OwnApi:
    """Serves calls that come straight to the node, in the same batches as the mesh's."""

    def __init__(self, served: Mapping[str, Served], intake: Intake, *, boot: int, name: str, clock: Clock) -> None:
        self._served = served
        self._intake = intake
        self._boot = boot
        self._name = name
        self._clock = clock
        self._numbers = itertools.count(1)

    async def serve(self, call: Call) -> Answered:
        """Answers or raises an IsochroneError."""
        served = self._variant_of(call)
        deadline_s = call.deadline_s or call.received_s + DEADLINE_S
        key = JobKey(self._boot, next(self._numbers))
        caller = LocalCaller()
        self._intake.from_caller(served, call.route, call.request, key=key, reply_to=caller, deadline_s=deadline_s)
        try:
            ran, outcome = await caller.done
        finally:
            self._intake.cancel(self._boot, [key.job])
        budget = self._budget(call, deadline_s, ran, outcome)
        if outcome.error is not None:
            outcome.error.budget = budget
            raise outcome.error
        return Answered(outcome.payload, budget)

    def _variant_of(self, call: Call) -> Served:
        able = [served for served in self._served.values() if call.route in served.routes]
        for served in able:
            if call.variant in (None, served.model.variant):
                return served
        known = ", ".join(served.model.variant for served in able)
        raise UnknownVariant(f"no variant {call.variant!r} of {call.route} here; there is {known}")

    def _budget(self, call: Call, deadline_s: float, ran: Ran, outcome: Outcome) -> budget_pb2.BudgetReport:
        left_s = min(deadline_s - call.received_s, LONGEST_S)
        ledger = Ledger(
            received_s=call.received_s,
            objective_s=left_s,
            deadline_s=left_s,
            submitted_s=outcome.job.claimed_s,
            claimed_s=outcome.job.claimed_s,
            started_s=ran.started_s,
            computed_s=ran.started_s + ran.compute_s,
            replied_s=self._clock(),
            lane=ran.lane,
            node=self._name,
            attempts=1,
            direct=True,
            batch=ran.as_info(),
            units=outcome.job.units,
        )
        return ledger.report(self._clock())
