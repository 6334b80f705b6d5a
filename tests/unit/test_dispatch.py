"""Dispatcher: owns requests until they are answered, and sends them again on evidence."""

from __future__ import annotations

import asyncio
import random

import pytest

from desk import INLINE_BYTES, SOON_S, desk
from fakes import LANE
from isochrone.errors import InvalidRequest
from isochrone.status import to_status
from isochrone.testing.virtual_time import virtual_time
from isochrone.v1 import link_pb2
from isochrone_router.flight import Flight
from isochrone_router.suspects import CLAIM_ON_ITS_WAY_S, LOOK_AFTER_S


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
async def test_a_lane_that_only_a_node_knows_is_no_lane_of_a_ledger() -> None:
    """It would be a label of metrics."""
    async with desk("a") as at:
        one = at.into_the_lane()
        at.claimed(at.links[0], one)
        at.answered(at.links[0], one, lane="made@up")
        assert one.ledger.lane == LANE


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
