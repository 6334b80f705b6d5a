"""A node as a whole, in a mesh of two, whatever comes in whatever order: nothing lost, run twice, or run too late."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isochrone.config.placing import SHARES
from isochrone.errors import IsochroneError
from isochrone.keys import Tier
from isochrone.node.device import EXPIRED_BY_S
from isochrone.testing.mesh import LocalMesh, UnderWay
from isochrone.testing.models import SLEEP, SleepModel
from isochrone.testing.v1 import toy_pb2
from isochrone.testing.virtual_time import VirtualClock, virtual_clock, virtual_time

HOP_S = 0.0002
SOON_S = 4 * HOP_S
"""What one end knows, the other knows so much later at the most, with a word that crosses another on its way."""


@dataclass(slots=True)
class Ran:
    """One forward call."""

    began_s: float
    bodies: tuple[bytes, ...]
    raised: bool


class Observed(SleepModel):
    """Remembers its forward calls; takes as many times as long as it is told to."""

    def __init__(self, clock: VirtualClock, *, times: float = 1.0) -> None:
        super().__init__(sleep_ms=3, unit_ms=0.5, batch_jobs=8, max_units=32, sleep=self._pass)
        self.times = times
        self.ran: list[Ran] = []
        self._now = clock

    def forward(self, batch: Sequence[toy_pb2.ToyMessage]) -> Sequence[toy_pb2.ToyMessage]:
        ran = Ran(self._now(), tuple(item.body for item in batch), raised=True)
        self.ran.append(ran)
        outputs = super().forward(batch)
        ran.raised = False
        return outputs

    def _pass(self, seconds: float) -> None:
        self._now.advance(seconds * self.times)


@dataclass(frozen=True, slots=True)
class Ask:
    tier: Tier
    units: int
    timeout_ms: float
    trouble: str
    leaves_after_ms: float | None
    """Its caller, if it doesn't wait for the answer."""


@dataclass(frozen=True, slots=True)
class Pace:
    node: int
    times: float


@dataclass(frozen=True, slots=True)
class Redis:
    """Goes or comes back: jobs then go over the links, or through the lane."""

    is_up: bool


@dataclass(frozen=True, slots=True)
class Replace:
    """A node drains and goes, and another one comes."""

    node: int


@dataclass(slots=True)
class Asked:
    ask: Ask
    end_s: float
    left_s: float | None = None
    answer: bytes | IsochroneError | None = None
    answered_s: float = 0.0


asks = st.builds(
    Ask,
    tier=st.sampled_from(list(Tier)),
    units=st.integers(1, 16),
    timeout_ms=st.sampled_from([3, 12, 30, 100, 400]),
    trouble=st.sampled_from(["", "", "", "", "", "", "raise"]),
    leaves_after_ms=st.none() | st.none() | st.sampled_from([0.1, 1, 5, 12]),
)
happens = (
    asks
    | asks
    | asks
    | st.builds(Pace, st.integers(0, 1), st.sampled_from([0.5, 1, 3, 10]))
    | st.builds(Redis, st.booleans())
    | st.builds(Replace, st.integers(0, 1))
)
gaps_ms = st.sampled_from([0, 0, 0, 0.3, 1, 4, 20, 150, 1100])


@dataclass(slots=True)
class World:
    """The mesh, and all that was asked of it."""

    mesh: LocalMesh
    models: list[Observed] = field(default_factory=list)
    asked: dict[bytes, Asked] = field(default_factory=dict)
    calls: list[asyncio.Task[None]] = field(default_factory=list)

    async def add_node(self, *, times: float = 1.0) -> None:
        self.models.append(Observed(virtual_clock(), times=times))
        await self.mesh.add_node([self.models[-1]])

    async def happen(self, what: Ask | Pace | Redis | Replace) -> None:
        match what:
            case Ask():
                self.calls.append(asyncio.create_task(self._ask(what)))
            case Pace(node, times):
                model = self.mesh.nodes[node]._models[0]
                assert isinstance(model, Observed)
                model.times = times
            case Redis(is_up):
                assert self.mesh.broker is not None
                if is_up:
                    self.mesh.broker.restore()
                elif self.mesh.broker.lanes.is_up:
                    self.mesh.broker.lose()
            case Replace(node):
                await self.mesh.drain_node(self.mesh.nodes[node])
                await self.add_node()

    async def _ask(self, ask: Ask) -> None:
        body, clock = b"%d" % len(self.asked), self.mesh.clock
        asked = self.asked[body] = Asked(ask, clock() + ask.timeout_ms / 1e3)
        message = toy_pb2.ToyMessage(body=body, units=ask.units, trouble=ask.trouble).SerializeToString()
        call = self.mesh.make_call(SLEEP, message, ask.timeout_ms / 1e3)._replace(tier=ask.tier)
        serving = asyncio.create_task(self._serve(asked, call))
        if ask.leaves_after_ms is not None:
            await asyncio.wait({serving}, timeout=ask.leaves_after_ms / 1e3)
            if not serving.done():
                asked.left_s = clock()
                serving.cancel()
        await asyncio.wait({serving})

    async def _serve(self, asked: Asked, call: object) -> None:
        try:
            asked.answer = (await self.mesh.router.front.serve(call)).payload  # type: ignore[arg-type]
        except IsochroneError as error:
            asked.answer = error
        asked.answered_s = self.mesh.clock()

    def check(self) -> None:
        """What holds whatever has happened."""
        for body, asked in self.asked.items():
            if asked.left_s is None:
                assert asked.answer is not None, "lost"
                assert asked.answered_s <= asked.end_s + 1e-6
            if isinstance(asked.answer, bytes):
                assert toy_pb2.ToyMessage.FromString(asked.answer).body == body
                assert not asked.ask.trouble
        done: Counter[bytes] = Counter()
        split: set[bytes] = set()
        for ran in (ran for model in self.models for ran in model.ran):
            if not ran.raised or len(ran.bodies) == 1:
                done.update(body for body in ran.bodies if body)
            for body in filter(None, ran.bodies):
                asked = self.asked[body]
                assert ran.began_s <= asked.end_s + EXPIRED_BY_S, "expired, and run"
                left_s = None if body in split else asked.left_s  # a batch that runs goes on, in parts or whole
                assert left_s is None or ran.began_s <= left_s + SOON_S, "left, and run"
            split.update(ran.bodies if ran.raised else ())
        again = self.mesh.router.dispatcher.second_attempts.made
        assert sum(count - 1 for count in done.values()) <= again, "run twice"
        assert self.mesh.under_way == UnderWay(0, 0, 0)
        assert [link.given for link in self.mesh.router.links.links.values() if link.given] == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(gaps_ms, happens), min_size=5, max_size=60))
def test_whatever_comes_is_answered_once_and_in_time(script: list[tuple[float, Ask | Pace | Redis | Replace]]) -> None:
    """Requests by lane and link, callers who leave, batches that raise, nodes that slow down, drain and come, a Redis
    that goes and comes: each request ends by its deadline, and none is run that had expired, or without evidence
    twice."""

    @virtual_time
    async def go() -> None:
        routes = {SLEEP: {"objective_ms": 20, "deadline_ms": 400, "lanes": ["sleep@cpu"]}}
        async with LocalMesh([], routes=routes, nodes=0, hop_s=HOP_S) as mesh:
            world = World(mesh)
            for _ in range(2):
                await world.add_node()
            await mesh.settled()
            for gap_ms, what in script:
                await asyncio.sleep(gap_ms / 1e3)
                await world.happen(what)
            await asyncio.gather(*world.calls)
            await asyncio.sleep(5)
            world.check()

    go()


async def _flood(world: World, tier: Tier, *, per_s: float, until_s: float) -> None:
    while world.mesh.clock() < until_s:
        ask = Ask(tier, units=1, timeout_ms=4000, trouble="", leaves_after_ms=None)
        world.calls.append(asyncio.create_task(world._ask(ask)))
        await asyncio.sleep(1 / per_s)


@virtual_time
async def test_each_tier_has_its_least_share_while_gold_floods() -> None:
    """Gold alone asks for twice what the nodes can do. What is worked off of the others is what they are promised of
    the device, and no more: the rest is gold's."""
    routes = {SLEEP: {"objective_ms": 600, "deadline_ms": 4000, "lanes": ["sleep@cpu"]}}
    async with LocalMesh([], routes=routes, nodes=0, hop_s=HOP_S) as mesh:
        world = World(mesh)
        for _ in range(2):
            await world.add_node(times=10)
        await mesh.settled()
        began_s = mesh.clock()
        capacity = 2 * 8 / 0.07
        loads = {Tier.GOLD: 2 * capacity, Tier.STANDARD: 0.6 * capacity, Tier.BATCH: 0.3 * capacity}
        await asyncio.gather(*(_flood(world, tier, per_s=rate, until_s=began_s + 6) for tier, rate in loads.items()))
        await asyncio.gather(*world.calls)
        world.check()
        ran: Counter[Tier] = Counter()
        for each in (each for model in world.models for each in model.ran if each.began_s > began_s + 2):
            ran.update(world.asked[body].ask.tier for body in each.bodies if body)
        for tier in (Tier.STANDARD, Tier.BATCH):
            assert 0.8 * SHARES[tier] < ran[tier] / ran.total() < 1.5 * SHARES[tier], ran
        world.check()
