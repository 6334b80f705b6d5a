"""A node's numbers as they are exported: by itself, and by the routers that it tells of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from isochrone import telemetry as t
from isochrone.v1 import link_pb2


def families(nodes: Iterable[tuple[str, link_pb2.NodeState]]) -> Iterator[t.Family]:
    """Of nodes by name, with their last word. What nodes of one name say is added up: no label set comes twice."""
    backlog: Counter[t.Labels] = Counter()
    lanes: dict[t.Instrument, Counter[t.Labels]] = {
        instrument: Counter()
        for instrument in (t.NODE_BATCHES, t.NODE_JOBS, t.NODE_UNITS, t.NODE_DROPPED, t.ENGINE_ACTIVE, t.ENGINE_WAITING)
    }
    seconds: dict[t.Instrument, dict[t.Labels, float]] = {
        instrument: defaultdict(float) for instrument in (t.NODE_COMPUTE, t.NODE_WASTED)
    }
    used: Counter[t.Labels] = Counter()
    room: Counter[t.Labels] = Counter()
    for name, state in nodes:
        backlog[(name,)] += state.backlog_jobs
        for lane in state.lanes:
            labels = (name, lane.lane)
            lanes[t.NODE_BATCHES][labels] += lane.batches
            lanes[t.NODE_DROPPED][labels] += lane.dropped
            seconds[t.NODE_COMPUTE][labels] += lane.compute_s
            seconds[t.NODE_WASTED][labels] += lane.wasted_s
            lanes[t.NODE_JOBS][labels] += lane.jobs
            lanes[t.NODE_UNITS][labels] += lane.units
            if lane.HasField("engine"):
                lanes[t.ENGINE_ACTIVE][labels] += lane.engine.active
                lanes[t.ENGINE_WAITING][labels] += lane.engine.waiting
                used[labels] += lane.engine.kv_used
                room[labels] += lane.engine.kv_room
    yield t.Family(t.NODE_BACKLOG, list(backlog.items()))
    for instrument, values in lanes.items():
        yield t.Family(instrument, list(values.items()))
    for instrument, spent in seconds.items():
        yield t.Family(instrument, list(spent.items()))
    yield t.Family(t.ENGINE_KV, [(labels, used[labels] / tokens) for labels, tokens in room.items() if tokens])
