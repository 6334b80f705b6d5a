"""When a job is sent a second time though its node is alive, and where to."""

from __future__ import annotations

from collections import defaultdict

from isochrone_router.correction import Correction
from isochrone_router.flight import Flight
from isochrone_router.lane_view import LinkedNode

QUANTILE = 0.999
"""Of what nodes' promises turned out to be worth, lately: beyond it, an answer is overdue."""
LEAST_MARGIN_S = 0.002
LOOK_AGAIN_S = 0.005
"""Where nobody could take a job that is overdue, it is looked for again after this, for as long as it has."""
LOOKS = 64
"""At how many nodes of a lane: of a thousand, all would take as long as a request does otherwise."""
UNTRIED_MARGIN_S = 0.015
"""Beyond one and a half times what was promised, while little is known of a lane."""
TRIED = 32


class Promises:
    """How good nodes' word is, by lane: from a job's claim to its reply."""

    def __init__(self) -> None:
        self._lanes: dict[str, Correction] = defaultdict(Correction)

    def __repr__(self) -> str:
        return f"<Promises of {', '.join(f'{lane} {known!r}' for lane, known in self._lanes.items()) or 'nobody'}>"

    def kept(self, lane: str, *, promised_s: float, took_s: float, now_s: float) -> None:
        """A node has answered a job that was sent once."""
        self._lanes[lane].observe(foretold_s=promised_s, took_s=took_s, now_s=now_s)

    def overdue_after_s(self, lane: str, promised_s: float, *, now_s: float) -> float:
        """From its claim, when a job is overdue whose node promised that. So long is waited for evidence."""
        known = self._lanes[lane]
        untried_s = 1.5 * promised_s + UNTRIED_MARGIN_S
        if known.answers < TRIED:
            return untried_s
        margin_s = max(0.0, known.expected_s(now_s)) + known.at(QUANTILE, now_s) + LEAST_MARGIN_S
        return min(promised_s + margin_s, untried_s)


def hedge_to(flight: Flight, *, now_s: float) -> LinkedNode | None:
    """A node that is free, else the one that would answer it soonest, if that would be in time; None while jobs wait
    for nodes: a copy of one would take the place of another's work, and more so the more there is."""
    if flight.streams_from is not None:
        return None
    best: LinkedNode | None = None
    best_s = flight.expires_at_s - now_s
    for view in flight.alternatives:
        if view.depth > len(view.nodes):
            return None
        # Each flight begins with another, so that the first that is free is not always the same.
        nodes = view.nodes
        for place in range(flight.id, flight.id + min(len(nodes), LOOKS)):
            node = nodes[place % len(nodes)]
            busy_s = node.free_at_s - now_s
            if busy_s >= best_s or node.link in flight.holders:
                continue
            takes_s = node.base_s + node.per_unit_s * flight.job.weight
            if busy_s <= 0:
                if takes_s < best_s:
                    best, best_s = node, takes_s
                    break
            elif busy_s <= takes_s and busy_s + takes_s < best_s:
                best, best_s = node, busy_s + takes_s
    return best
