"""Keeps a node from claiming where others are much faster, and finds out when it has become quick again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping

from isochrone.node.claimer import Claimer
from isochrone.node.intake import Intake
from isochrone.node.loop import NodeLoop
from isochrone.node.pace import Pace, stands_back
from isochrone.node.served import BatchServed
from isochrone.registry import Census

log = logging.getLogger(__name__)

REHEARSE_S, AGAIN_S = 1.0, 0.05
"""While it stands back and nobody asks anything of it, a node runs an example so often; and sooner after one that
took a time other than predicted."""
OTHER_THAN_PREDICTED = 1.3


class Bystander:
    """A node among those that claim from the same lanes (docs/decisions/017-standing-back.md).

    What answers step by step never stands back: how long that takes hangs on how much runs beside it.
    """

    def __init__(
        self,
        served: Mapping[str, BatchServed],
        *,
        boot: int,
        claimer: Claimer,
        intake: Intake,
        loop: NodeLoop,
        check_soon: Callable[[], None],
    ) -> None:
        """`check_soon` has a census taken now."""
        self._served = served
        self._boot = boot
        self._claimer = claimer
        self._intake = intake
        self._loop = loop
        self._check_soon = check_soon
        self._others: dict[str, list[Pace]] = {}
        """By lane, of the other nodes that claim from it, as of the last census."""
        self._look_again = asyncio.Event()
        self.leaving = False

    def __repr__(self) -> str:
        return f"<Bystander of {', '.join(sorted(self.lanes)) or 'no lane'}>"

    @property
    def lanes(self) -> frozenset[str]:
        """Those that it leaves to others."""
        return frozenset(lane for lane, served in self._served.items() if served.stands_back)

    def counted(self, census: Census) -> frozenset[str]:
        """Takes in who is there now. Gives the lanes to leave to others."""
        self._others = {
            lane: [
                Pace.of_record(node.latency[lane])
                for node in census.nodes
                if node.boot != self._boot and lane in node.claims and lane in node.latency
            ]
            for lane in self._served
        }
        self._decide()
        return self.lanes

    def pace_changed(self) -> None:
        """A model has become slower or faster. What is too slow now stands back at once, by what others were at the
        last census. The next one is taken now: it may be that they have become slower as well, and that none claims
        any more."""
        before = self.lanes
        self._decide()
        self._claimer.forgo(self.lanes - before)
        self._check_soon()

    async def run(self) -> None:
        """Runs examples now and then while it stands back, until cancelled."""
        while True:
            await self._look_again.wait()
            self._look_again.clear()
            while self.lanes and not self.leaving:
                surprised = False
                for lane in self.lanes:
                    times = await self._loop.rehearse(self._served[lane])
                    surprised |= not 1 / OTHER_THAN_PREDICTED < times < OTHER_THAN_PREDICTED
                await asyncio.sleep(AGAIN_S if surprised else REHEARSE_S)

    def _decide(self) -> None:
        before = self.lanes
        for lane, served in self._served.items():
            served.stands_back = not self.leaving and stands_back(
                Pace(served.latency.current, served.batch_units),
                self._others.get(lane, ()),
                weight=served.mean_weight,
                was_back=served.stands_back,
            )
        now = self.lanes
        self._stood_back(now - before)
        if before - now:
            log.info("claiming from %s again", ", ".join(sorted(before - now)))

    def _stood_back(self, lanes: Collection[str]) -> None:
        """What is staged and can't be done in time at the new pace goes to others."""
        for lane in lanes:
            served = self._served[lane]
            returned = self._intake.give_back(served)
            log.warning("too slow for %s: %r; gave back %d jobs", lane, served.latency, returned)
        if lanes:
            self._look_again.set()
