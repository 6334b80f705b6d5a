"""Second attempts: what a dispatcher sends again, on which evidence, and what it may cost."""

from __future__ import annotations

import asyncio

import pytest

from desk import SOON_S, desk
from fakes import FakeLink
from isochrone.errors import Unavailable
from isochrone.testing.virtual_time import virtual_time
from isochrone_router.dispatch import UNHEARD_S
from isochrone_router.hedging import UNTRIED_MARGIN_S
from isochrone_router.lane_view import LaneView, LinkedNode


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
        assert repr(attempts) == "<SecondAttempts 1 made, 1 of them hedges, 1 denied>"


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
