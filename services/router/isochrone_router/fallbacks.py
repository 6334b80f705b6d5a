"""Answers for requests that fail, as their routes say: the last good one, a fixed one, or another route's.

a request ──► its route ──► answered ──► remembered
                 └────────► failed ──► last good? ──► static? ──► another route? ──► answered, marked as a fallback
                                                                       └──► failed after all
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from google.rpc import code_pb2

from isochrone.answers import Kept, digest_of
from isochrone.config import RouteConfig
from isochrone.deadline import Clock
from isochrone.errors import IsochroneError
from isochrone.rpc import Call
from isochrone.starting import Chunks, Done, Ended, Leave, Taken
from isochrone.status import code_of
from isochrone.v1 import budget_pb2
from isochrone_router.answer_cache import AnswerCache
from isochrone_router.past import Past, StartTold, Tell
from isochrone_router.standby import Standby, Way, standby_of

log = logging.getLogger(__name__)

LEG = "fallback"
"""What a request is called that was to stand in for another."""
Judge = Callable[[str, budget_pb2.BudgetReport], None]
"""Puts into the report of a route's late answer what is to blame."""


class Fallbacks:
    """A StartTold in front of another, for routes that have fallbacks. Others pass through."""

    def __init__(
        self,
        own: StartTold,
        routes: Mapping[str, RouteConfig],
        *,
        cache: AnswerCache,
        judge: Judge,
        tell: Tell,
        margin_s: Callable[[], float],
        clock: Clock,
    ) -> None:
        """`tell` hears of requests that are part of no other. `margin_s`: what an answer leaves before its deadline.

        Raises ValueError where a static answer can't be read."""
        self.own = own
        self.cache = cache
        self.judge = judge
        self.margin_s = margin_s
        self.clock = clock
        self._tell = tell
        self._standbys = {
            name: standby_of(name, routes, looks=cache.store is not None)
            for name, route in routes.items()
            if route.fallback
        }

    def __repr__(self) -> str:
        return f"<Fallbacks for {', '.join(self._standbys) or 'no route'}, {self.cache!r}>"

    def start(self, call: Call, done: Done, chunks: Chunks | None = None, *, tell: Tell | None = None) -> Leave:
        """A StartTold."""
        standby = self._standbys.get(call.route)
        if standby is None:
            return self.own(call, done, chunks, tell=tell)
        return _Covered(self, standby, call, done, chunks, tell=tell or self._tell).begin()


class _Covered:
    """A request whose route has fallbacks, until it has ended.

    It is told of when it is over and so is whoever was asked to stand in for it; that one is told of as a leg of it.
    """

    __slots__ = (
        *("_call", "_chunks", "_digest", "_done", "_ends_at_s", "_error", "_given", "_is_over", "_layer", "_leave"),
        *("_left", "_legs", "_other", "_past", "_scale", "_standby", "_starting", "_tell", "_timer"),
    )

    def __init__(
        self, layer: Fallbacks, standby: Standby, call: Call, done: Done, chunks: Chunks | None, *, tell: Tell
    ) -> None:
        self._layer = layer
        self._standby = standby
        self._call = call
        self._done = done
        self._chunks = chunks
        self._tell = tell
        deadline_s = standby.deadline_s
        if call.deadline_s is not None:
            deadline_s = min(deadline_s, call.deadline_s - call.received_s)
        self._ends_at_s = call.received_s + deadline_s
        self._scale = standby.scale(deadline_s)
        self._leave: Leave | None = None
        """Of what is under way for it."""
        self._timer: asyncio.TimerHandle | None = None
        self._starting = True
        self._is_over = False
        self._given = False
        """Chunks of its own answer have gone to its caller."""
        self._error: IsochroneError | None = None
        """What it has failed with itself."""
        self._past: Past | None = None
        """As its own route tells of it, once that has failed."""
        self._left: Sequence[Way] = ()
        """Ways that haven't been tried."""
        self._legs: list[Past] = []
        self._other: Ended | None = None
        self._digest = b""

    def begin(self) -> Leave:
        """Starts it. Raises what it is refused with, where nothing stands in for that or might."""
        call = self._call
        if self._standby.reserve_s:
            call = call._replace(reserve_s=self._standby.reserve_s * self._scale)
        chunks = None if self._chunks is None else self._chunk
        try:
            self._leave = self._layer.own(call, self._ended, chunks, tell=self._told)
        except IsochroneError as error:
            self._starting = False
            if self._past is None:  # of no route at all
                raise
            self._error = error
            self._left = self._standby.for_failure(error)
            if not self._left:
                self._is_over = True
                self._tell(self._past)
                raise
            # Nobody is told of an end before he has been told that it has begun.
            asyncio.get_running_loop().call_soon(self._go_on)
            return self.leave
        self._starting = False
        if self._past is not None:  # it has ended meanwhile
            self._leave = None
            if self._error is None:
                self._tell(self._past)
            else:
                asyncio.get_running_loop().call_soon(self._go_on)
        return self.leave

    def leave(self) -> None:
        """A Leave."""
        if self._is_over:
            return
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._leave is not None:
            self._leave()  # its own route tells of it as cancelled
        if self._past is not None:
            self._tell(self._past._replace(code="CANCELLED", reason="", report=self._report(), legs=tuple(self._legs)))

    # What its own route says.

    def _chunk(self, payload: bytes, taken: Taken) -> None:
        assert self._chunks is not None
        self._given = True
        self._chunks(payload, taken)

    def _ended(self, what: Ended) -> None:
        if what.error is None:
            self._is_over = True
            self._done(what)
            if self._standby.ttl_s:
                self._layer.cache.remember(self._key(), what.payload, ttl_s=self._standby.ttl_s)
            return
        self._left = () if self._given else self._standby.for_failure(what.error)
        if not self._left:
            self._is_over = True
            self._done(what)
            return
        self._error = what.error

    def _told(self, past: Past) -> None:
        if self._starting:
            self._past = past
        else:
            self._over(past)

    def _over(self, past: Past) -> None:
        """Its own route has done with it."""
        if self._error is None or self._is_over:
            self._tell(past)
            return
        self._past = past
        self._leave = None
        self._go_on()

    # Who stands in.

    def _go_on(self) -> None:
        """Tries the next way to an answer, and those after it, until one has to be waited for."""
        while self._left and not self._is_over:
            way, *self._left = self._left
            if way.static:
                self._answer(way.static, source="static")
                return
            if way.route:
                if self._ask(way.route):
                    return
            else:
                kept = self._layer.cache.recall(self._key(), ttl_s=way.ttl_s)
                if kept is not None:
                    self._answer((kept.payload,), source="last_good", age_s=kept.age_s)
                    return
                if self._look(way.ttl_s):
                    return
        if not self._is_over:
            self._fail()

    def _key(self) -> bytes:
        if not self._digest:
            call = self._call
            self._digest = digest_of(
                call.route, variant=call.variant or "", caller=getattr(call, "caller", ""), request=call.request
            )
        return self._digest

    def _until_s(self) -> float:
        """When this way has to have led somewhere, so that those after it have their time."""
        later_s = self._scale * sum(way.reserve_s for way in self._left)
        return self._ends_at_s - self._layer.margin_s() - later_s

    def _look(self, ttl_s: float) -> bool:
        """Asks the store of all routers; False where there is none, or no time to."""
        cache = self._layer.cache
        time_s = min(cache.stall_s, self._until_s() - self._layer.clock())
        if cache.store is None or time_s <= 0:
            return False
        look = asyncio.ensure_future(cache.fetch(self._key(), ttl_s=ttl_s))
        look.add_done_callback(self._looked)
        self._leave = partial(_cancel, look)
        self._timer = asyncio.get_running_loop().call_later(time_s, look.cancel)
        return True

    def _looked(self, look: asyncio.Future[Kept | None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_over:
            return
        self._leave = self._timer = None
        kept = None
        if not look.cancelled():
            fault = look.exception()
            if fault is None:
                kept = look.result()
            else:  # one that nobody foresaw; the request has other ways
                log.error("looking for a last good answer", exc_info=fault)
        if kept is None:
            self._go_on()
        else:
            self._answer((kept.payload,), source="last_good", age_s=kept.age_s)

    def _ask(self, route: str) -> bool:
        """Starts another route; False where that refuses."""
        assert self._past is not None
        now_s = self._layer.clock()
        call = self._call._replace(
            route=route,
            variant=None,  # of another model
            received_s=now_s,
            deadline_s=self._until_s() + self._layer.margin_s(),  # it keeps that margin itself
            traceparent=str(self._past.place.span),
            reserve_s=0.0,
        )
        told = len(self._legs)
        try:
            leave = self._layer.start(call, self._other_ended, tell=partial(self._other_told, route))
        except IsochroneError:  # its own past has it
            return False
        if len(self._legs) == told:  # else it is over
            self._leave = leave
        return True

    def _other_ended(self, what: Ended) -> None:
        self._other = what

    def _other_told(self, route: str, past: Past) -> None:
        self._legs.append(past._replace(leg=LEG))
        what, self._other = self._other, None
        if what is None or self._is_over:  # refused, or left
            return
        self._leave = None
        if what.error is not None:
            self._go_on()
        elif past.is_fallback:  # it too is made up for, by what it says
            other = what.budget.fallback
            self._answer((what.payload,), source=other.source, route=other.route or route, age_s=other.age_ms / 1e3)
        else:
            self._answer((what.payload,), source="route", route=route)

    # How it ends.

    def _answer(self, payloads: Sequence[bytes], *, source: str, route: str = "", age_s: float = 0.0) -> None:
        assert self._past is not None
        assert self._error is not None
        self._is_over = True
        report = self._report()
        report.fallback.source = source
        report.fallback.route = route
        report.fallback.age_ms = round(age_s * 1e3)
        report.fallback.reason = self._error.reason
        if self._chunks is None:
            [payload] = payloads
        else:
            payload = b""
            report.chunks, report.first_us = len(payloads), max(1, report.total_us)
            for chunk in payloads:
                self._chunks(chunk, _nothing)
        self._done(Ended(payload, None, report))
        # What a node foretold is not to be held against when this answer left.
        self._tell(self._past._replace(code="OK", report=report, predicted_us=0, legs=tuple(self._legs)))

    def _fail(self) -> None:
        """With what its own route failed with: that is what was to be made up for."""
        assert self._past is not None
        assert self._error is not None
        self._is_over = True
        self._error.budget = report = self._report()
        self._done(Ended(b"", self._error, report))
        code = code_pb2.Code.Name(code_of(self._error))
        self._tell(self._past._replace(code=code, report=report, legs=tuple(self._legs)))

    def _report(self) -> budget_pb2.BudgetReport:
        """Its own, until now: what has passed since belongs to its last stage."""
        assert self._past is not None
        report = budget_pb2.BudgetReport()
        report.CopyFrom(self._past.report)
        total_us = max(report.total_us, int((self._layer.clock() - self._past.received_s) * 1e6))
        if report.stage_us:
            report.stage_us[-1] += total_us - report.total_us
        report.total_us = total_us
        report.missed = report.missed or total_us > report.objective_us
        self._layer.judge(self._call.route, report)
        return report


def _cancel(look: asyncio.Future[Kept | None]) -> None:
    look.cancel()


def _nothing() -> None:
    """The chunks of a static answer are few, and there already."""
