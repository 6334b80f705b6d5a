"""Dispatcher: owns requests until they are answered, and sends them again on evidence."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fakes import LANE, Awaited, FakeLanes, FakeLink, flight
from isochrone.config import LimitsConfig
from isochrone.errors import InvalidRequest, Unavailable
from isochrone.keys import Queue
from isochrone.lane import LaneUnavailable
from isochrone.status import to_status
from isochrone.testing.virtual_time import virtual_clock, virtual_time
from isochrone.v1 import link_pb2
from isochrone_router.attempts import AttemptBudget
from isochrone_router.dispatch import UNHEARD_S, Dispatcher
from isochrone_router.flight import Flight, Flights
from isochrone_router.hedging import UNTRIED_MARGIN_S
from isochrone_router.lane_gate import LaneGate
from isochrone_router.lane_view import LaneView, LinkedNode
from isochrone_router.planner import Plan
from isochrone_router.suspects import CLAIM_ON_ITS_WAY_S, LOOK_AFTER_S

INLINE_BYTES = 100
SOON_S = 0.001


class Desk:
    """A dispatcher with lanes and links that do as they are told."""

    def __init__(self, *names: str, burst: float = 100.0) -> None:
        clock = asyncio.get_running_loop().time
        self.links = [FakeLink(name, LANE) for name in names]
        self.lanes = FakeLanes()
        self.refuse = False
        self.flights = Flights(LimitsConfig())
        self.gate = LaneGate(
            self._open, on_change=self._gate_changed, on_count=self._counted, stall_s=0.05, clock=clock
        )
        self.attempts = AttemptBudget(0.0, burst=burst)
        self.dispatcher = Dispatcher(
            self.flights,
            gate=self.gate,
            attempts=self.attempts,
            inline_bytes=INLINE_BYTES,
            linger_s=0.0,
            clock=clock,
        )
        self.views = {LANE: LaneView(LANE)}
        self.dispatcher.use(self)  # type: ignore[arg-type]  # it is asked for views, and to refresh them

    async def _open(self) -> FakeLanes:
        if self.refuse:
            raise LaneUnavailable("away")
        return self.lanes

    def _gate_changed(self) -> None:
        self.dispatcher.gate_changed()

    def _counted(self, queue: Queue, jobs: int) -> None:
        self.views[queue.lane].forecast.waiting.others_are(queue.tier, jobs)

    # Links, as the dispatcher uses them.

    def refresh(self) -> None:
        view = self.views[LANE]
        was_open = view.is_open
        view.nodes = [LinkedNode(link, LANE) for link in self.links if link.takes_jobs]  # type: ignore[arg-type]
        view.is_open = self.gate.is_up and bool(view.nodes)
        if was_open and not view.is_open:
            self.dispatcher.lane_closed(LANE)

    def take_over_from(self, link: FakeLink) -> None:
        """No node here has a second address."""

    def tell_epoch(self, epoch: int) -> None:
        for link in self.links:
            link.tell_epoch(epoch)

    # What tests do with it, and see of it.

    @property
    def watched(self) -> int:
        """Jobs that are thought to wait in a lane."""
        return len(self.dispatcher._suspects)

    @property
    def depth(self) -> int:
        """Jobs that the forecast of the lane counts there."""
        return self.views[LANE].depth

    def into_the_lane(self, **changes: object) -> Awaited:
        one = flight(member=b"", **changes)  # type: ignore[arg-type]
        one.alternatives = tuple(self.views.values())
        self.dispatcher.dispatch(one, Plan(LANE))
        return one

    def over(self, link: FakeLink, **changes: object) -> Awaited:
        one = flight(member=b"", **changes)  # type: ignore[arg-type]
        one.alternatives = tuple(self.views.values())
        self.dispatcher.dispatch(one, Plan(LANE, LinkedNode(link, LANE)))  # type: ignore[arg-type]
        return one

    def claimed(self, link: FakeLink, *flights: Flight, finish_in_s: float = 0.010) -> None:
        """The node has taken them out of the lane, or got them over the link, and says so."""
        for one in flights:
            self.lanes.waiting.pop(one.member, None)
        self.dispatcher.claimed(link, [one.id for one in flights], finish_in_s)  # type: ignore[arg-type]

    def answered(
        self, link: FakeLink, one: Flight, payload: bytes = b"answer", *, attempt: int = 1, lane: str = LANE
    ) -> None:
        done = link_pb2.BatchDone(lane=lane, compute_us=5000)
        claimed_us = int(virtual_clock()() * 1e6)
        done.replies.add(job=one.id, payload=payload, units=3, claimed_us=claimed_us, attempt=attempt)
        self.dispatcher.batch_done(link, done)  # type: ignore[arg-type]

    def goes_down(self, link: FakeLink) -> None:
        link.takes_jobs = False
        link.given = 0  # as a link does by itself
        self.dispatcher.link_down(link)  # type: ignore[arg-type]


@asynccontextmanager
async def desk(*names: str, burst: float = 100.0) -> AsyncIterator[Desk]:
    at = Desk(*names, burst=burst)
    await at.gate.start()
    running = asyncio.create_task(at.gate.run())
    yield at
    running.cancel()
    for one in at.flights:
        at.dispatcher.finish(one)
    assert [link.given for link in at.links] == [0] * len(at.links), "every job given to a node is accounted for"


@virtual_time
async def test_a_job_goes_into_the_lane_and_its_answer_comes_over_the_link() -> None:
    """The ordinary way, with the ledger filled in."""
    async with desk("a", "b") as at:
        one = at.into_the_lane()
        await asyncio.sleep(0)
        assert list(at.lanes.waiting) == [one.member]
        [a, b] = at.links
        at.claimed(a, one)
        assert (a.given, b.given, one.in_lane) == (1, 0, False)
        at.answered(a, one)
        assert await one.answered == b"answer"
        assert (a.given, one.ledger.node, one.ledger.units, one.ledger.attempts) == (0, "a", 3, 1)
        at.dispatcher.finish(one)
        assert (len(at.flights), a.cancelled, at.lanes.removed) == (0, [], [])


@virtual_time
async def test_a_large_request_queues_as_a_ticket() -> None:
    """Its bytes stay here and are given to whoever claims it; one that is over has none."""
    async with desk("a") as at:
        small, large = at.into_the_lane(request=bytes(INLINE_BYTES)), at.into_the_lane(request=bytes(INLINE_BYTES + 1))
        jobs = [link_pb2.Job.FromString(one.member) for one in (small, large)]
        assert [(len(job.payload), job.ticket_bytes) for job in jobs] == [(100, 0), (0, 101)]
        assert at.dispatcher.payload_of(large.id) == large.call.request
        at.dispatcher.finish(large)
        assert at.dispatcher.payload_of(large.id) is None


@virtual_time
async def test_a_job_can_be_addressed_to_a_node() -> None:
    """With its bytes, however many."""
    async with desk("a", "b") as at:
        [_, b] = at.links
        one = at.over(b, request=bytes(10 * INLINE_BYTES))
        [job] = b.submitted
        assert (job.id, job.payload, job.ticket_bytes, job.attempt) == (one.id, one.call.request, 0, 1)
        assert one.ledger.direct
        at.claimed(b, one)
        at.answered(b, one)
        assert await one.answered == b"answer"


@virtual_time
async def test_an_error_is_an_answer_too() -> None:
    """Of the type that the node meant."""
    async with desk("a") as at:
        one = at.into_the_lane()
        at.claimed(at.links[0], one)
        done = link_pb2.BatchDone(lane=LANE)
        done.replies.add(job=one.id, status=to_status(InvalidRequest.of("x", "is bad")).SerializeToString())
        at.dispatcher.batch_done(at.links[0], done)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest):
            await one.answered


@virtual_time
async def test_a_claim_of_an_unknown_job_is_called_off() -> None:
    """Its caller has gone; the node need not run it. An answer to it is ignored."""
    async with desk("a") as at:
        one = at.into_the_lane()
        at.dispatcher.finish(one)
        at.claimed(at.links[0], one)
        assert at.links[0].cancelled == [one.id]
        at.answered(at.links[0], one)
        assert not one.answered.done()


@virtual_time
async def test_a_caller_that_goes_takes_its_job_out_of_the_lane() -> None:
    """Or calls it off where it is."""
    async with desk("a") as at:
        waiting, taken = at.into_the_lane(), at.into_the_lane()
        await asyncio.sleep(0)
        at.claimed(at.links[0], taken)
        member = waiting.member
        at.dispatcher.finish(waiting)
        at.dispatcher.finish(taken)
        assert at.lanes.removed == [member]
        assert at.links[0].cancelled == [taken.id]
        assert at.links[0].given == 0


@virtual_time
async def test_an_overdue_job_is_given_to_another_as_well() -> None:
    """A margin after the node's own prediction; and whichever answers first is the answer."""
    async with desk("slow", "other") as at:
        slow, other = at.links
        one = at.into_the_lane()
        await asyncio.sleep(0)
        at.claimed(slow, one, finish_in_s=0.010)
        await asyncio.sleep(0.015 + UNTRIED_MARGIN_S - SOON_S)
        assert other.submitted == []
        await asyncio.sleep(2 * SOON_S)
        [copy] = other.submitted
        assert (copy.id, copy.attempt) == (one.id, 2)
        assert (one.ledger.attempts, at.dispatcher.second_attempts.made) == (2, 1)
        at.claimed(other, one)
        assert (slow.given, other.given) == (1, 1)
        at.answered(other, one)
        assert await one.answered == b"answer"
        at.dispatcher.finish(one)
        assert (slow.cancelled, other.cancelled) == ([one.id], [])
        assert at.lanes.removed == [], "no copy of it is in the lane any more"


@virtual_time
async def test_the_first_copy_may_still_win() -> None:
    """Then the second is called off, and its answer ignored."""
    async with desk("slow", "other") as at:
        slow, other = at.links
        one = at.into_the_lane()
        at.claimed(slow, one, finish_in_s=0.0)
        await asyncio.sleep(2 * UNTRIED_MARGIN_S)
        assert len(other.submitted) == 1
        at.answered(slow, one, b"first")
        at.dispatcher.finish(one)
        at.answered(other, one, b"second")
        assert await one.answered == b"first"
        assert (other.cancelled, other.given) == ([one.id], 0)


@virtual_time
async def test_a_job_with_a_second_copy_under_way_is_not_taken_for_one_in_the_lane() -> None:
    """When Redis goes, only what waits in the lane is sent over the links."""
    async with desk("slow", "other", "third") as at:
        slow, *free = at.links
        one = at.into_the_lane()
        await asyncio.sleep(0)
        at.claimed(slow, one, finish_in_s=0.0)
        await asyncio.sleep(UNTRIED_MARGIN_S + SOON_S)
        assert not one.in_lane
        at.refuse = True
        at.lanes.close()
        await asyncio.sleep(SOON_S)
        copies = [job.id for link in at.links for job in link.submitted]
        assert copies == [one.id]
        [other] = [link for link in free if link.submitted]
        at.claimed(other, one)
        at.answered(other, one)
        assert await one.answered == b"answer"


@virtual_time
async def test_a_node_that_says_nothing_is_asked_no_more() -> None:
    """What was addressed to it goes to another, at the price of a second attempt."""
    async with desk("mute", "other") as at:
        mute, other = at.links
        one = at.over(mute)
        await asyncio.sleep(UNHEARD_S + SOON_S)
        assert [job.id for job in other.submitted] == [one.id]
        at.claimed(mute, one)
        await asyncio.sleep(UNHEARD_S + SOON_S)
        assert at.dispatcher.second_attempts.denied == 0, "nobody is left to ask"
        assert len(mute.submitted) == 1, "the second's silence sends nothing back to the first"


@virtual_time
async def test_a_node_that_says_it_has_the_job_is_left_to_it() -> None:
    """For as long as it said, and a margin."""
    async with desk("a", "b") as at:
        one = at.over(at.links[0])
        at.claimed(at.links[0], one, finish_in_s=1.0)
        await asyncio.sleep(1.0)
        assert at.links[1].submitted == []


@virtual_time
async def test_a_broken_link_sends_its_jobs_elsewhere_at_once() -> None:
    """Claimed from the lane or addressed; the others' jobs stay where they are."""
    async with desk("dead", "alive") as at:
        dead, alive = at.links
        addressed, taken, elsewhere = at.over(dead), at.into_the_lane(), at.into_the_lane()
        at.claimed(dead, taken, finish_in_s=5.0)
        at.claimed(alive, elsewhere, finish_in_s=5.0)
        at.goes_down(dead)
        assert [job.id for job in alive.submitted] == [addressed.id, taken.id]
        assert at.dispatcher.second_attempts.made == 2
        dead.given = 0  # as a link that was down counts anew


@virtual_time
async def test_a_broken_link_to_the_only_node_fails_its_jobs() -> None:
    """At once, and as something that may be tried again."""
    async with desk("dead") as at:
        one = at.over(at.links[0])
        at.goes_down(at.links[0])
        with pytest.raises(Unavailable) as caught:
            await one.answered
        assert caught.value.reason == "NODE_LOST"
        at.links[0].given = 0


@virtual_time
async def test_a_broken_link_costs_nothing_where_another_copy_is_under_way() -> None:
    """The hedge has the job already."""
    async with desk("dead", "other", "third") as at:
        dead, other, third = at.links
        one = at.into_the_lane()
        at.claimed(dead, one, finish_in_s=0.0)
        await asyncio.sleep(UNTRIED_MARGIN_S + SOON_S)
        [given] = [link for link in (other, third) if link.submitted]
        at.claimed(given, one, finish_in_s=5.0)
        at.goes_down(dead)
        assert at.dispatcher.second_attempts.made == 1


@virtual_time
async def test_the_attempt_budget_bounds_second_attempts() -> None:
    """Past it a lost job fails, a late one waits; and it is counted."""
    async with desk("dead", "alive", burst=1.0) as at:
        dead, alive = at.links
        lost = [at.over(dead) for _ in range(3)]
        for one in lost:
            at.claimed(dead, one, finish_in_s=5.0)
        late = at.into_the_lane()
        at.claimed(alive, late, finish_in_s=0.0)
        at.goes_down(dead)
        assert len(alive.submitted) == 1
        assert [one.answered.done() for one in lost] == [False, True, True]
        await asyncio.sleep(1.0)
        assert not late.answered.done()
        assert (at.dispatcher.second_attempts.made, at.dispatcher.second_attempts.denied) == (1, 2)


@virtual_time
async def test_hedges_are_counted_with_those_that_won_and_those_denied() -> None:
    """A hedge takes from the top quarter of the attempt budget alone."""
    async with desk("slow", "other", burst=4.0) as at:
        slow, other = at.links
        hedged, denied = at.into_the_lane(), at.into_the_lane()
        at.claimed(slow, hedged, finish_in_s=0.0)
        await asyncio.sleep(UNTRIED_MARGIN_S + SOON_S)
        at.answered(other, hedged, attempt=2)
        assert (hedged.ledger.won, hedged.ledger.attempts) == (2, 2)
        at.claimed(slow, denied, finish_in_s=0.0)
        await asyncio.sleep(UNTRIED_MARGIN_S + SOON_S)
        attempts = at.dispatcher.second_attempts
        assert (attempts.hedges, attempts.hedges_won, attempts.hedges_denied) == (1, 1, 1)
        assert (attempts.made, attempts.denied) == (1, 1)


@virtual_time
async def test_a_lane_that_only_a_node_knows_is_no_lane_of_a_ledger() -> None:
    """It would be a label of metrics."""
    async with desk("a") as at:
        one = at.into_the_lane()
        at.claimed(at.links[0], one)
        at.answered(at.links[0], one, lane="made@up")
        assert one.ledger.lane == LANE


@virtual_time
async def test_a_drained_nodes_returns_cost_no_attempts() -> None:
    """Nobody has run them, so they are no extra load: a drain loses no request, however little may be tried twice."""
    async with desk("leaving", "staying", burst=0.0) as at:
        leaving, staying = at.links
        flights = [at.over(leaving) for _ in range(5)]
        leaving.takes_jobs = False
        at.refresh()
        at.dispatcher.returned(leaving, [one.id for one in flights])  # type: ignore[arg-type]
        assert [job.id for job in staying.submitted] == [one.id for one in flights]
        assert (leaving.given, at.dispatcher.second_attempts.made) == (0, 0)


@virtual_time
async def test_jobs_returned_by_the_only_node_fail() -> None:
    """There is no other to ask."""
    async with desk("leaving") as at:
        one = at.over(at.links[0])
        at.dispatcher.returned(at.links[0], [one.id])  # type: ignore[arg-type]
        with pytest.raises(Unavailable):
            await one.answered


@virtual_time
async def test_when_redis_goes_what_waits_in_it_goes_over_the_links() -> None:
    """At once, spread over the nodes, in the new epoch, and without costing attempts."""
    async with desk("a", "b", burst=0.0) as at:
        flights = [at.into_the_lane() for _ in range(4)]
        await asyncio.sleep(0)
        at.refuse = True
        at.lanes.close()
        await asyncio.sleep(SOON_S)
        assert sorted(job.id for link in at.links for job in link.submitted) == [one.id for one in flights]
        assert [len(link.submitted) for link in at.links] == [2, 2]
        assert {job.epoch for link in at.links for job in link.submitted} == {2}
        assert [link.epoch for link in at.links] == [2, 2]
        assert {one.ledger.attempts for one in flights} == {1}


@virtual_time
async def test_a_job_that_somebody_took_and_vanished_with_is_sent_again() -> None:
    """It is gone from the lane, and nobody says that he has it."""
    async with desk("a", "b") as at:
        one = at.into_the_lane()
        await asyncio.sleep(0)
        at.lanes.waiting.clear()
        await asyncio.sleep(2 * LOOK_AFTER_S + CLAIM_ON_ITS_WAY_S + SOON_S)
        assert [job.id for link in at.links for job in link.submitted] == [one.id]
        assert one.ledger.attempts == 2
        assert at.depth == 0, "and is not taken for one that waits"


@virtual_time
@pytest.mark.parametrize("how", ["down", "changed"])
async def test_jobs_that_a_node_may_have_taken_along_are_looked_for(how: str) -> None:
    """It broke off, or fell silent: all that wait are suspect then, not only the oldest."""
    async with desk("a", "b") as at:
        waiting, taken = at.into_the_lane(), at.into_the_lane()
        await asyncio.sleep(SOON_S)
        del at.lanes.waiting[taken.member]
        at.links[0].takes_jobs = False
        if how == "down":
            at.goes_down(at.links[0])
        else:
            at.dispatcher.link_changed(at.links[0])  # type: ignore[arg-type]
        await asyncio.sleep(2 * LOOK_AFTER_S + CLAIM_ON_ITS_WAY_S + SOON_S)
        assert [job.id for job in at.links[1].submitted] == [taken.id]
        assert waiting.in_lane


@virtual_time
async def test_whatever_a_link_says_of_itself_changes_the_views() -> None:
    """A node that comes is used, one that goes is not."""
    async with desk("a") as at:
        for tell in (at.dispatcher.link_up, at.dispatcher.link_changed, at.dispatcher.link_down):
            at.views[LANE].nodes = []
            tell(at.links[0])  # type: ignore[arg-type]
            assert len(at.views[LANE].nodes) == 1


@virtual_time
async def test_requests_earn_what_second_attempts_cost() -> None:
    """Each a fraction of one."""
    async with desk("a", burst=100.0) as at:
        while at.attempts.take():
            pass
        at.attempts._fraction = 0.5
        for _ in range(2):
            at.into_the_lane()
        assert at.attempts.take()


@virtual_time
async def test_a_refused_request_has_its_lanes_counted() -> None:
    """There may be room in them again."""
    async with desk("a") as at:
        at.lanes.waiting |= {b"another's": 0.0, b"one more": 0.0}
        for depth in (2, 0):
            at.dispatcher.recount([LANE])
            await asyncio.sleep(0)
            assert at.depth == depth
            at.lanes.waiting.clear()


@virtual_time
async def test_a_claim_ends_the_waiting_in_the_lane() -> None:
    """The job is counted there no more, and not looked for."""
    async with desk("a") as at:
        one, other = at.into_the_lane(), at.into_the_lane()
        await asyncio.sleep(SOON_S)
        assert (at.depth, at.watched) == (2, 2)
        at.claimed(at.links[0], one)
        assert (at.depth, at.watched) == (1, 1)
        assert (one.in_lane, other.in_lane) == (False, True)


@virtual_time
async def test_a_lane_that_nobody_claims_from_any_more_is_emptied() -> None:
    """Redis is there, but its nodes are not: what waits goes over the links, and nothing of it stays behind."""
    async with desk("a", "b") as at:
        one = at.into_the_lane()
        await asyncio.sleep(SOON_S)
        at.dispatcher.lane_closed(LANE)
        assert [job.id for link in at.links for job in link.submitted] == [one.id]
        assert (at.lanes.removed, list(at.lanes.waiting), at.watched) == ([at.lanes.pushes[0][0].member], [], 0)


@virtual_time
async def test_a_request_that_fails_with_its_node_may_end_others_that_it_had() -> None:
    """As a leg that a page can't do without ends the others: the node holds nothing of ours then, and not less."""
    async with desk("dead") as at:
        [dead] = at.links
        needed, other = at.over(dead), at.over(dead)
        needed.over = lambda _: at.dispatcher.finish(other)
        at.goes_down(dead)
        assert (needed.is_over, dead.given) == (True, 0)


@virtual_time
async def test_where_nobody_is_left_of_its_lane_a_job_goes_to_another_of_its_route() -> None:
    """What is alive and could answer it is asked, dearer or not."""
    async with desk("dead") as at:
        [dead] = at.links
        other = FakeLink("other", "toy@cuda")
        at.views["toy@cuda"] = view = LaneView("toy@cuda")
        view.nodes = [LinkedNode(other, "toy@cuda")]  # type: ignore[arg-type]
        one = at.over(dead)
        at.goes_down(dead)
        assert [(job.id, job.lane, job.attempt) for job in other.submitted] == [(one.id, "toy@cuda", 2)]
        assert (one.lane, other.given, one.is_over) == ("toy@cuda", 1, False)
        at.dispatcher.finish(one)
        assert other.given == 0


@virtual_time
async def test_a_copy_that_is_given_back_is_not_replaced_while_another_runs() -> None:
    """It was one too many already."""
    async with desk("slow", "leaving", "idle") as at:
        slow, leaving, idle = at.links
        idle.takes_jobs = False
        at.refresh()
        one = at.into_the_lane()
        at.claimed(slow, one, finish_in_s=0.0)
        await asyncio.sleep(UNTRIED_MARGIN_S + SOON_S)
        assert len(leaving.submitted) == 1
        idle.takes_jobs = True
        at.refresh()
        at.dispatcher.returned(leaving, [one.id])  # type: ignore[arg-type]
        assert idle.submitted == []
        at.answered(slow, one)
        assert await one.answered == b"answer"


@virtual_time
async def test_a_second_copy_that_is_lost_leaves_the_first() -> None:
    """It may still answer, so nothing fails; there is no third to ask."""
    async with desk("slow", "dead") as at:
        slow, dead = at.links
        one = at.into_the_lane()
        at.claimed(slow, one, finish_in_s=0.0)
        await asyncio.sleep(UNTRIED_MARGIN_S + SOON_S)
        assert len(dead.submitted) == 1
        at.goes_down(dead)
        assert not one.answered.done()
        at.answered(slow, one)
        assert await one.answered == b"answer"


@virtual_time
async def test_an_answer_may_overtake_its_claim() -> None:
    """Then there is nothing left to look for in the lane."""
    async with desk("a") as at:
        one = at.into_the_lane()
        await asyncio.sleep(0)
        at.answered(at.links[0], one)
        assert await one.answered == b"answer"
        assert (one.in_lane, at.watched, at.depth) == (False, 0, 0)
        at.dispatcher.finish(one)
        assert at.lanes.removed == []


@virtual_time
async def test_whatever_happens_every_request_ends_and_nothing_is_left() -> None:
    """Nodes die, claim, answer, return and stay silent at random: each flight is answered or failed, or still held."""
    dice = random.Random(7)
    for _ in range(30):
        async with desk("a", "b", "c", burst=10.0) as at:
            flights: list[Flight] = []
            for _ in range(60):
                link = dice.choice(at.links)
                one = dice.choice(flights) if flights else None
                match dice.randrange(7):
                    case 0 | 1:
                        flights.append(at.into_the_lane())
                    case 2 if link.takes_jobs:
                        flights.append(at.over(link))
                    case 3 if one:
                        at.claimed(link, one, finish_in_s=dice.choice([0.0, 0.01]))
                    case 4 if one:
                        at.answered(link, one)
                    case 5 if one:
                        at.dispatcher.returned(link, [one.id])  # type: ignore[arg-type]
                    case 6 if one and dice.random() < 0.3:
                        at.dispatcher.finish(one)
                await asyncio.sleep(dice.choice([0.0, 0.001, 0.02]))
            for one in flights:
                at.dispatcher.finish(one)
            assert len(at.flights) == at.flights.bytes == 0
