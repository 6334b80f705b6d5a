"""A node's numbers as they are exported: by itself, and by the routers that it tells of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from isochrone import telemetry as t
from isochrone.v1 import link_pb2


def families(nodes: Iterable[tuple[str, link_pb2.NodeState]]) -> Iterator[t.Family]:
    """Of nodes by name, with their last word. What nodes of one name say is added up: no label set comes twice."""
    backlog: Counter[t.Labels] = Counter()
    lanes: dict[t.Instrument, Counter[t.Labels]] = {
        instrument: Counter()
        for instrument in (t.NODE_BATCHES, t.NODE_JOBS, t.NODE_UNITS, t.ENGINE_ACTIVE, t.ENGINE_WAITING)
    }
    used: Counter[t.Labels] = Counter()
    room: Counter[t.Labels] = Counter()
    for name, state in nodes:
        backlog[(name,)] += state.backlog_jobs
        for lane in state.lanes:
            labels = (name, lane.lane)
            lanes[t.NODE_BATCHES][labels] += lane.batches
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
    yield t.Family(t.ENGINE_KV, [(labels, used[labels] / tokens) for labels, tokens in room.items() if tokens])
