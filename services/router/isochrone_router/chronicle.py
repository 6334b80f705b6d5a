"""What is made of requests that are over: they are judged, counted, remembered for a while, and traced."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isochrone.blame import Expectation
from isochrone.deadline import Clock
from isochrone.v1 import budget_pb2
from isochrone_router.past import Past, Tell
from isochrone_router.route_stats import RouteStats


class Chronicle:
    """Is told of every request of this process once, when its answer has left."""

    def __init__(self, routes: Iterable[str], *, clock: Clock, listeners: Sequence[Tell] = ()) -> None:
        """`listeners` hear of all requests, with those that were no leg of a fan-out at the top."""
        self.stats = {route: RouteStats(clock) for route in routes}
        self._expectations = {route: Expectation() for route in self.stats}
        self._listeners = listeners

    def __repr__(self) -> str:
        return f"<Chronicle of {sum(stats.requests for stats in self.stats.values())} requests>"

    def way_back_s(self, route: str) -> float:
        """What a route's answers usually take from the end of their batch on."""
        return self._expectations[route].way_back_s

    def judge(self, route: str, report: budget_pb2.BudgetReport) -> None:
        """Puts into the report of a request that was late which stage is to blame. Its answer is about to leave."""
        if report.missed:
            report.blame = self._expectations[route].blame(report)

    def tell(self, past: Past) -> None:
        """A request by itself, or a whole fan-out."""
        for part in past.parts if past.legs else (past,):
            self._count(part)
        for listener in self._listeners:
            listener(past)

    def _count(self, past: Past) -> None:
        """A request by itself, a leg of a fan-out, or a fan-out without its legs."""
        report = past.report
        self.stats[past.route].add(past)
        if past.code == "OK" and not report.missed and report.stage_us and not past.is_fallback:
            self._expectations[past.route].learn(report)
