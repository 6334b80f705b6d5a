"""What the console wants to know of requests and RouteStats don't say: nodes' forecasts against what came."""

from __future__ import annotations

from dataclasses import dataclass, field

from isochrone.blame import stages_to_objective
from isochrone.telemetry import STAGES
from isochrone_router.past import Past

_ON_NODE = slice(STAGES.index("batch_wait"), STAGES.index("link") + 1)


def _no_stages() -> list[int]:
    return [0] * len(STAGES)


@dataclass(slots=True)
class RouteTally:
    """One route's, since the process started."""

    beyond_us: list[int] = field(default_factory=_no_stages)
    """By stage, in the order of STAGES: time of answers that stream, after the first chunk. The objective is not for
    that."""


@dataclass(slots=True)
class NodeTally:
    """What a node foretold of its jobs when it claimed them, and what came, from claim to reply. At first attempts."""

    jobs: int = 0
    predicted_us: int = 0
    actual_us: int = 0


class Tally:
    """A listener of the chronicle. Costs about a microsecond a request."""

    def __init__(self) -> None:
        self.routes: dict[str, RouteTally] = {}
        self.nodes: dict[str, NodeTally] = {}

    def __repr__(self) -> str:
        return f"<Tally of {sum(node.jobs for node in self.nodes.values())} forecasts>"

    def __call__(self, past: Past) -> None:
        for part in past.parts if past.legs else (past,):
            self._add(part)

    def _add(self, past: Past) -> None:
        report = past.report
        if past.predicted_us and past.code == "OK" and not past.tries:
            node = self.nodes.get(report.node)
            if node is None:
                node = self.nodes[report.node] = NodeTally()
            node.jobs += 1
            node.predicted_us += past.predicted_us
            node.actual_us += sum(report.stage_us[_ON_NODE])
        if report.first_us:
            route = self.routes.get(past.route)
            if route is None:
                route = self.routes[past.route] = RouteTally()
            spent = zip(report.stage_us, stages_to_objective(report), strict=True)
            for stage, (whole_us, counts_us) in enumerate(spent):
                route.beyond_us[stage] += whole_us - counts_us
