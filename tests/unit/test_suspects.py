"""Suspects: jobs that somebody may have taken out of a lane and vanished with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fakes import FakeLanes, flight
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone_router.flight import Flight
from isochrone_router.lane_gate import LaneGate
from isochrone_router.suspects import CLAIM_ON_ITS_WAY_S, LOOK_AFTER_S, Suspects

LOST_S = 2 * LOOK_AFTER_S + CLAIM_ON_ITS_WAY_S + 0.001
"""By then a job that vanished at once is found out."""


class Watch:
    """Suspects over a gate, and the jobs they have had sent again."""

    def __init__(self) -> None:
        self.lanes = FakeLanes()
        self.asked: list[bytes] = []
        clock = asyncio.get_running_loop().time
        self.gate = LaneGate(self._open, on_change=lambda: None, stall_s=0.05, clock=clock)
        self.resent: list[Flight] = []
        self.suspects = Suspects(self.gate, resend=self.resent.append, clock=clock)
        present = self.lanes.present

        def noted(lane, tier, members):  # type: ignore[no-untyped-def]
            self.asked += members
            return present(lane, tier, members)

        self.lanes.present = noted  # type: ignore[method-assign]

    async def _open(self) -> FakeLanes:
        return self.lanes

    def submit(self, *, lane: str = "a@cpu", objective_s: float = 0.05) -> Flight:
        one = flight(lane=lane, objective_s=objective_s)
        one.ledger.submitted_s = virtual_clock()()
        self.suspects.watch(one)
        self.gate.submit(one, linger_s=0)
        return one

    def take(self, one: Flight) -> None:
        """Somebody takes it out of the lane and says nothing."""
        del self.lanes.waiting[one.member]

    def claim(self, one: Flight) -> None:
        """Somebody takes it, and says so."""
        self.take(one)
        self.suspects.claimed(one)
        one.member = b""


@asynccontextmanager
async def watch() -> AsyncIterator[Watch]:
    at = Watch()
    await at.gate.start()
    yield at


@virtual_time
async def test_a_job_that_waits_is_left_alone() -> None:
    """However long: the lane still has it."""
    async with watch() as at:
        at.submit()
        await asyncio.sleep(1)
        assert (at.resent, len(at.suspects)) == ([], 1)
        assert 0.8 / LOOK_AFTER_S < len(at.asked) < 1.2 / LOOK_AFTER_S, "now and then it is looked for"


@virtual_time
async def test_a_job_that_is_gone_is_sent_again() -> None:
    """Once, and then it is watched no more."""
    async with watch() as at:
        one = at.submit()
        await asyncio.sleep(0)
        at.take(one)
        await asyncio.sleep(LOST_S)
        assert (at.resent, len(at.suspects)) == ([one], 0)
        await asyncio.sleep(1)
        assert at.resent == [one]


@virtual_time
async def test_a_claim_on_its_way_is_waited_for() -> None:
    """A job may be gone from the lane a moment before its node says so."""
    async with watch() as at:
        one = at.submit()
        await asyncio.sleep(2 * LOOK_AFTER_S - 0.0001)
        at.take(one)
        await asyncio.sleep(0.0001 + CLAIM_ON_ITS_WAY_S / 2)
        assert one.member in at.asked
        at.suspects.claimed(one)
        one.member = b""
        await asyncio.sleep(1)
        assert at.resent == []


@virtual_time
async def test_a_claimed_or_forgotten_job_is_not_looked_for() -> None:
    """With none left, there is no timer either."""
    async with watch() as at:
        one, other = at.submit(), at.submit()
        await asyncio.sleep(0)
        at.claim(one)
        at.suspects.forget(other)
        await asyncio.sleep(1)
        assert (at.asked, len(at.suspects)) == ([], 0)


@virtual_time
async def test_a_job_passed_over_by_a_later_one_is_suspect() -> None:
    """The lane is urgency-ordered: what was due before and there before should have been claimed before."""
    async with watch() as at:
        oldest = at.submit(objective_s=0.9)
        taken, later = at.submit(objective_s=0.1), at.submit(objective_s=0.9)
        await asyncio.sleep(0.005)
        next_one = at.submit(objective_s=0.5)
        await asyncio.sleep(0)
        at.take(taken)
        at.claim(next_one)
        await asyncio.sleep(LOST_S)
        assert at.resent == [taken]
        assert len(at.suspects) == 2, "later and oldest wait on"
        assert oldest.member in at.asked
        before = at.asked.index(taken.member)
        assert later.member not in at.asked[: before + 1], "it is due after the one that was claimed"


@virtual_time
async def test_being_passed_over_is_judged_by_what_was_claimed_lately() -> None:
    """A claim of long ago that was due late says nothing of today's jobs."""
    async with watch() as at:
        oldest = at.submit(objective_s=9.0)
        long_ago = at.submit(objective_s=8.0)
        await asyncio.sleep(0.001)
        at.claim(long_ago)
        await asyncio.sleep(1.5)
        taken = at.submit(objective_s=0.1)
        await asyncio.sleep(0.001)
        lately = at.submit(objective_s=0.5)
        await asyncio.sleep(0)
        at.take(taken)
        at.claim(lately)
        await asyncio.sleep(LOST_S)
        assert at.resent == [taken]
        assert oldest in at.suspects._waiting


@virtual_time
async def test_when_a_node_goes_all_are_suspect() -> None:
    """Those submitted until then: it may have taken any of them along."""
    async with watch() as at:
        kept = at.submit()
        taken = [at.submit() for _ in range(3)]
        await asyncio.sleep(0.001)
        for one in taken:
            at.take(one)
        at.suspects.suspect_all()
        later = at.submit()
        await asyncio.sleep(LOST_S)
        assert at.resent == taken
        assert len(at.suspects) == len([kept, later])


@virtual_time
async def test_where_one_is_lost_the_others_become_suspect() -> None:
    """Whoever took it may have taken others: all are found out within a few looks, however many there were."""
    async with watch() as at:
        taken = [at.submit() for _ in range(200)]
        await asyncio.sleep(0)
        for one in taken:
            at.take(one)
        await asyncio.sleep(6 * LOST_S)
        assert sorted(one.id for one in at.resent) == [one.id for one in taken]


@virtual_time
async def test_each_lane_has_its_own_oldest() -> None:
    """A lane whose jobs are merely waiting does not hide another's that are lost."""
    async with watch() as at:
        at.submit(lane="a@cpu")
        lost = at.submit(lane="b@cpu")
        await asyncio.sleep(0)
        at.take(lost)
        await asyncio.sleep(LOST_S)
        assert at.resent == [lost]


@virtual_time
async def test_while_redis_does_not_answer_nobody_is_lost() -> None:
    """Then all of them are sent another way anyhow."""
    async with watch() as at:
        one = at.submit()
        await asyncio.sleep(0)
        at.take(one)
        at.lanes.prompt = False
        await asyncio.sleep(0.1)
        assert at.resent == []
