"""The services' own API as a node serves it: a caller can't tell it from a router."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

from isochrone.deadline import Clock
from isochrone.errors import UnknownVariant
from isochrone.ledger import Ledger
from isochrone.node.credit import Credit
from isochrone.node.intake import Intake
from isochrone.node.served import Served
from isochrone.node.staging import JobKey, Outcome, Ran, StagedJob
from isochrone.rpc import Answered, Call
from isochrone.starting import Chunks, Done, Ended, Leave, awaited
from isochrone.v1 import budget_pb2

DEADLINE_S = 60.0
"""For callers that set none."""
LONGEST_S = 3600.0
"""The longest that a BudgetReport can tell of, to the hour."""
AHEAD = 32
"""Chunks that a stream may be ahead of its caller."""


class OwnApi:
    """Serves calls that come straight to the node, beside the mesh's and like them."""

    def __init__(self, served: Mapping[str, Served], intake: Intake, *, boot: int, name: str, clock: Clock) -> None:
        self._served = served
        self._intake = intake
        self._boot = boot
        self._name = name
        self._clock = clock
        self._numbers = itertools.count(1)

    async def serve(self, call: Call) -> Answered:
        """Answers or raises an IsochroneError."""
        return await awaited(self.start, call)

    def start(self, call: Call, done: Done, chunks: Chunks | None = None) -> Leave:
        """A Start."""
        served = self._variant_of(call)
        deadline_s = call.deadline_s or call.received_s + DEADLINE_S
        key = JobKey(self._boot, next(self._numbers))
        caller = _LocalCaller(call, deadline_s, node=self._name, done=done, chunks=chunks, clock=self._clock)
        self._intake.from_caller(
            served,
            call.route,
            call.request,
            key=key,
            reply_to=caller,
            deadline_s=deadline_s,
            credit=caller.credit,
        )
        return partial(self._intake.cancel, self._boot, [key.job])

    def _variant_of(self, call: Call) -> Served:
        able = [served for served in self._served.values() if call.route in served.routes]
        for served in able:
            if call.variant in (None, served.model.variant):
                return served
        known = ", ".join(served.model.variant for served in able)
        raise UnknownVariant(f"no variant {call.variant!r} of {call.route} here; there is {known}")


class _LocalCaller:
    """ReplyTo for one call."""

    def __init__(
        self, call: Call, deadline_s: float, *, node: str, done: Done, chunks: Chunks | None, clock: Clock
    ) -> None:
        self._call = call
        self._deadline_s = deadline_s
        self._node = node
        self._done = done
        self._chunks = chunks
        self._clock = clock
        self._sent = 0
        self._first_s = 0.0
        self.credit = Credit(AHEAD) if chunks is not None else None

    def chunk(self, job: StagedJob, number: int, payload: bytes) -> None:
        assert self._chunks is not None
        assert self.credit is not None
        self._sent = number
        self._first_s = self._first_s or self._clock()
        self._chunks(payload, partial(self.credit.grant, 1))

    def settle(self, ran: Ran, outcomes: Sequence[Outcome]) -> None:
        (outcome,) = outcomes
        budget = self._budget(ran, outcome)
        if outcome.error is not None:
            outcome.error.budget = budget
        self._done(Ended(outcome.payload, outcome.error, budget))

    def _budget(self, ran: Ran, outcome: Outcome) -> budget_pb2.BudgetReport:
        call = self._call
        left_s = min(self._deadline_s - call.received_s, LONGEST_S)
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
            node=self._node,
            attempts=1,
            direct=True,
            batch=ran.as_info(),
            units=outcome.job.units,
            first_s=self._first_s,
            chunks=self._sent,
        )
        return ledger.report(self._clock())
