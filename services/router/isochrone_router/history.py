"""What the routes, lanes and nodes of a process did over the last quarter of an hour, in steps of some seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple, Self, TypeVar

from isochrone.deadline import Clock

STEP_S = 5.0
STEPS = 180
NOW_STEPS = 3
"""So many full steps, and the one under way, are "now"."""


class RouteCount(NamedTuple):
    """What a route has done: since the process started, or between two moments."""

    requests: int
    met: int
    durations: tuple[int, ...]
    """By bucket of DURATION_BUCKETS_S."""
    stage_us: tuple[int, ...]
    """By stage, as far as the objective goes."""
    blamed: tuple[int, ...]
    """Misses by the stage that is to blame."""

    def minus(self, other: Self) -> RouteCount:
        return RouteCount(
            self.requests - other.requests,
            self.met - other.met,
            _minus(self.durations, other.durations),
            _minus(self.stage_us, other.stage_us),
            _minus(self.blamed, other.blamed),
        )

    def plus(self, other: Self) -> RouteCount:
        return RouteCount(
            self.requests + other.requests,
            self.met + other.met,
            _plus(self.durations, other.durations),
            _plus(self.stage_us, other.stage_us),
            _plus(self.blamed, other.blamed),
        )


class Decided(NamedTuple):
    """What was decided about some of a route's requests."""

    route: str
    kind: str
    """ "plan": they were sent; "refused"; "fallback": something stood in."""
    lane: str
    """Of a plan."""
    why: str
    """Of a plan and a refusal the reason; of a fallback what stood in."""


class DecisionCount(NamedTuple):
    """How many they were; and of those sent once and answered, what was foretold and what came."""

    requests: int
    answers: int = 0
    within: int = 0
    """Answered within what was foretold at the quantile of the target."""
    expected_s: float = 0.0
    actual_s: float = 0.0
    cost: float = 0.0

    def minus(self, other: Self) -> DecisionCount:
        return DecisionCount._make([a - b for a, b in zip(self, other, strict=True)])

    def plus(self, other: Self) -> DecisionCount:
        return DecisionCount._make([a + b for a, b in zip(self, other, strict=True)])


class NodeCount(NamedTuple):
    """Jobs of a node whose end it had foretold, and both times, added up."""

    jobs: int
    predicted_us: int
    actual_us: int

    def minus(self, other: Self) -> NodeCount:
        return NodeCount(*_minus(self, other))

    def plus(self, other: Self) -> NodeCount:
        return NodeCount(*_plus(self, other))


class LaneCount(NamedTuple):
    """What all nodes together have run of a lane, for whichever router."""

    jobs: int
    batches: int
    units: int

    def minus(self, other: Self) -> LaneCount:
        return LaneCount(*_minus(self, other))


class Reading(NamedTuple):
    """All counts at one moment. Those of what a node has run may start anew."""

    routes: Mapping[str, RouteCount]
    nodes: Mapping[str, NodeCount]
    depths: Mapping[str, int]
    """Jobs waiting, by lane."""
    runs: Mapping[tuple[str, int], LaneCount]
    """By lane and boot id of the node."""
    decisions: Mapping[Decided, DecisionCount] = MappingProxyType({})


class Mark(NamedTuple):
    """The counts when a step began."""

    number: int
    at_s: float
    routes: Mapping[str, RouteCount]
    nodes: Mapping[str, NodeCount]
    lanes: Mapping[str, LaneCount]
    decisions: Mapping[Decided, DecisionCount]
    deepest: Mapping[str, int]
    """Jobs waiting at most, by lane, in the step before."""


class Span(NamedTuple):
    """What was done between two marks."""

    seconds: float
    routes: Mapping[str, RouteCount]
    nodes: Mapping[str, NodeCount]
    lanes: Mapping[str, LaneCount]
    decisions: Mapping[Decided, DecisionCount]


class Step(NamedTuple):
    """One step that is over. Numbers count from the clock's zero, the same for all processes of a machine."""

    number: int
    span: Span
    deepest: Mapping[str, int]


class History:
    """Reads the counts when it is told to look, and keeps them as they were at the start of each step.

    What was done in a span is the difference of two such marks: nothing is kept per request, and nothing decays.
    """

    def __init__(self, read: Callable[[], Reading], *, clock: Clock) -> None:
        self._read = read
        self._clock = clock
        self._runs: dict[tuple[str, int], LaneCount] = {}
        self._lanes: dict[str, LaneCount] = {}
        self._deepest: dict[str, int] = {}
        self._marks: deque[Mark] = deque(maxlen=STEPS + 1)
        self._latest = self._look()
        self._marks.append(self._latest)

    def __repr__(self) -> str:
        return f"<History of {len(self._marks) - 1} steps>"

    def look(self) -> None:
        """Takes the counts in; ends the step when its time is over. Cheap, at any time."""
        self._latest = self._look()
        if self._latest.number > self._marks[-1].number:
            self._marks.append(self._latest)
            self._deepest = {}

    def now(self) -> Span:
        """The last steps and the one under way."""
        return _between(self._marks[max(0, len(self._marks) - 1 - NOW_STEPS)], self._latest)

    def window(self) -> Span:
        """All that is kept."""
        return _between(self._marks[0], self._latest)

    def steps(self, *, after: int) -> Iterator[Step]:
        """Those that are over and have a higher number, oldest first."""
        for before, mark in pairwise(self._marks):
            if mark.number - 1 > after:
                yield Step(mark.number - 1, _between(before, mark), mark.deepest)

    def _look(self) -> Mark:
        read = self._read()
        for (lane, node), count in read.runs.items():
            before = self._runs.get((lane, node), count)  # what it ran before we heard of it was in no step of ours
            have = self._lanes.get(lane, LaneCount(0, 0, 0))
            self._lanes[lane] = LaneCount(*(a + max(0, b) for a, b in zip(have, count.minus(before), strict=True)))
        self._runs = dict(read.runs)
        for lane, depth in read.depths.items():
            self._deepest[lane] = max(depth, self._deepest.get(lane, 0))
        now_s = self._clock()
        lanes, deepest = dict(self._lanes), dict(self._deepest)
        return Mark(int(now_s // STEP_S), now_s, read.routes, read.nodes, lanes, read.decisions, deepest)


def _between(before: Mark, after: Mark) -> Span:
    return Span(
        after.at_s - before.at_s,
        _differences(before.routes, after.routes),
        _differences(before.nodes, after.nodes),
        _differences(before.lanes, after.lanes),
        _differences(before.decisions, after.decisions),
    )


_Key = TypeVar("_Key", str, Decided)
_Count = TypeVar("_Count", RouteCount, NodeCount, LaneCount, DecisionCount)


def _differences(before: Mapping[_Key, _Count], after: Mapping[_Key, _Count]) -> dict[_Key, _Count]:
    return {name: count.minus(before[name]) if name in before else count for name, count in after.items()}


def _minus(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([x - y for x, y in zip(a, b, strict=True)])


def _plus(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple([x + y for x, y in zip(a, b, strict=True)])
