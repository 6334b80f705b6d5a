"""Intake: what arrives at a node becomes staged jobs, or is refused before it costs compute."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from fakes import LANE, ROUTE, ROUTER, Collector, FakeRouterLink, Toy, a_job, claimed
from isochrone.errors import DeadlineExceeded, Internal, InvalidRequest, Unavailable
from isochrone.keys import Tier
from isochrone.lane import Claimed, Entry
from isochrone.latency import Latency
from isochrone.node.intake import Intake
from isochrone.node.served import BatchServed
from isochrone.node.staging import JobKey
from isochrone.testing.virtual_time import virtual_time


@dataclass
class Door:
    """An intake with one lane and one linked router."""

    link: FakeRouterLink = field(default_factory=FakeRouterLink)
    busy_until_s: float = 0.0

    def __post_init__(self) -> None:
        clock = asyncio.get_running_loop().time
        self.filled = asyncio.Event()
        self.served = BatchServed.warmed_up(Toy(clock), device="cpu", filled=self.filled, clock=clock)
        self.intake = Intake({LANE: self.served}, clock=clock, busy_until_s=lambda: self.busy_until_s)
        self.intake.link_up(self.link)

    @property
    def staged(self) -> list[int]:
        return [job.key.job for job in self.served.staging.jobs]


@virtual_time
async def test_a_claimed_job_is_staged_and_its_router_told() -> None:
    """Decoded and weighed, with its deadlines on this node's clock."""
    door = Door()
    job = a_job(1, payload=b"ok:123", timeout_s=2.0)
    assert door.intake.from_lanes([claimed(job)]) == []
    [staged] = door.served.staging.jobs
    assert (staged.key, staged.item, staged.units) == (JobKey(ROUTER, 1), b"ok:123", 3)
    assert staged.deadline_s == pytest.approx(asyncio.get_running_loop().time() + 2.0, abs=1e-5)
    assert [jobs for jobs, _ in door.link.claims] == [[1]]
    assert door.filled.is_set()


@virtual_time
async def test_the_router_hears_when_the_job_will_be_done() -> None:
    """What is left of the running batch, and the work that is staged or on its way; each job counts once."""
    door = Door()
    door.served.latency.current = type(door.served.latency.current)(0.010, 0.001)
    door.busy_until_s = asyncio.get_running_loop().time() + 0.5
    door.intake.from_link(door.link, [a_job(1, payload=b"ok:1234", weight=4)])
    door.intake.from_link(door.link, [a_job(2, payload=b"", ticket_bytes=6, weight=3)])
    finishes_in_s = [finish_in_s for _, finish_in_s in door.link.claims]
    assert finishes_in_s == pytest.approx([0.5 + 0.010 + 0.004, 0.5 + 0.010 + 0.004 + 0.003], abs=0.0005)


@virtual_time
async def test_jobs_of_unlinked_routers_are_orphans() -> None:
    """They come back to the claimer as they were; the others are staged."""
    door = Door()
    orphan = claimed(a_job(1, router=0xBEEF))
    assert door.intake.from_lanes([orphan, claimed(a_job(2))]) == [orphan]
    assert door.staged == [2]


@virtual_time
async def test_jobs_of_an_older_epoch_are_not_run() -> None:
    """Their router has left Redis since and sent them another way; nothing is said of them either."""
    door = Door()
    door.link.epoch = 3
    old, new = a_job(1, epoch=2), a_job(2, epoch=3)
    assert door.intake.from_lanes([claimed(old), claimed(new)]) == []
    assert door.staged == [2]
    assert [jobs for jobs, _ in door.link.claims] == [[2]]


@virtual_time
async def test_what_no_router_of_ours_wrote_is_thrown_away() -> None:
    """Bytes in the lane that are no job at all."""
    door = Door()
    assert door.intake.from_lanes([Claimed(LANE, Tier.STANDARD, Entry(1.0, b"\xff\xff\xff"))]) == []
    assert door.staged == []


@virtual_time
async def test_a_copy_of_a_job_is_not_run_again() -> None:
    """Claimed, then addressed over the link as well: one of them counts, and only it is told of."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1))])
    door.intake.from_link(door.link, [a_job(1, attempt=2)])
    assert door.staged == [1]
    assert len(door.link.claims) == 1


@virtual_time
async def test_an_envelope_that_we_cannot_read_is_answered() -> None:
    """A newer version is refused and not guessed at; so is a job for a lane that isn't served here."""
    door = Door()
    door.intake.from_link(door.link, [a_job(1, version=99)])
    door.intake.from_lanes([claimed(a_job(2, lane="other@cpu"))])
    errors = [door.link.errors[number] for number in (1, 2)]
    assert [type(error) for error in errors] == [Unavailable, Unavailable]
    assert [error.reason for error in errors] == ["ENVELOPE_VERSION", "UNKNOWN_LANE"]
    assert door.staged == []


@virtual_time
async def test_jobs_for_other_lanes_are_given_back_over_the_link() -> None:
    """Whoever addressed them can send them elsewhere."""
    door = Door()
    door.intake.from_link(door.link, [a_job(1, lane="other@cpu"), a_job(2)])
    assert door.link.returned == [1]
    assert door.staged == [2]


@virtual_time
async def test_an_expired_job_is_answered_and_not_staged() -> None:
    """Its caller is told what became of it."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1, timeout_s=-0.001)), claimed(a_job(2))])
    assert isinstance(door.link.errors[1], DeadlineExceeded)
    assert door.staged == [2]


@virtual_time
async def test_a_wrong_request_is_refused_with_its_field() -> None:
    """By the model's own words, before any batch has it."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1, payload=b"bad"))])
    error = door.link.errors[1]
    assert isinstance(error, InvalidRequest)
    assert [violation.field for violation in error.violations] == ["request"]
    assert door.staged == []


@virtual_time
async def test_a_request_over_the_models_limit_is_refused() -> None:
    """In the model's own units."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1, payload=b"ok:123456789"))])
    error = door.link.errors[1]
    assert isinstance(error, InvalidRequest)
    assert error.message == "request: has 9 bytes; at most 8 are taken at once"


@virtual_time
async def test_a_model_that_crashes_in_decode_harms_nobody_else() -> None:
    """An incident for the one, staging for the other."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1, payload=b"crash")), claimed(a_job(2))])
    assert isinstance(door.link.errors[1], Internal)
    assert "crash" not in str(door.link.errors[1])
    assert door.staged == [2]


@virtual_time
async def test_a_large_payload_is_fetched_over_the_link() -> None:
    """The job is claimed at once and staged when its bytes are here; until then its units are expected."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1, payload=b"", ticket_bytes=6, weight=3))])
    assert [jobs for jobs, _ in door.link.claims] == [[1]]
    await asyncio.sleep(0)
    assert (door.staged, door.intake.fetching, door.served.staging.expected_units) == ([], 1, 3)
    door.link.payloads[1].set_result(b"ok:123")
    await asyncio.sleep(0.001)
    assert (door.staged, door.intake.fetching, door.served.staging.expected_units) == ([1], 0, 0)


@virtual_time
async def test_a_payload_that_is_gone_leaves_nothing() -> None:
    """Its caller has gone meanwhile."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1, payload=b"", ticket_bytes=6))])
    await asyncio.sleep(0)
    door.filled.clear()
    door.link.payloads[1].set_result(None)
    await asyncio.sleep(0.001)
    assert (door.staged, door.intake.fetching, door.served.staging.expected_units) == ([], 0, 0)
    assert door.filled.is_set(), "the node loop looks for other work"


@virtual_time
async def test_a_cancelled_job_is_forgotten_wherever_it_is() -> None:
    """Staged or being fetched; one that nobody knows is no error."""
    door = Door()
    door.intake.from_lanes([claimed(a_job(1)), claimed(a_job(2, payload=b"", ticket_bytes=6)), claimed(a_job(3))])
    await asyncio.sleep(0)
    door.intake.cancel(ROUTER, [1, 2, 99])
    await asyncio.sleep(0.001)
    assert (door.staged, door.intake.fetching, door.served.staging.expected_units) == ([3], 0, 0)
    door.intake.from_link(door.link, [a_job(1)])
    assert door.staged == [3], "a cancelled job is not run when its copy turns up"


@virtual_time
async def test_another_routers_job_of_that_number_is_left_alone() -> None:
    """Jobs are named by their router and number."""
    door, other = Door(), FakeRouterLink(0xB0)
    door.intake.link_up(other)
    door.intake.from_lanes([claimed(a_job(1)), claimed(a_job(1, router=0xB0))])
    door.intake.cancel(0xB0, [1])
    assert [job.key for job in door.served.staging.jobs] == [JobKey(ROUTER, 1)]


@virtual_time
async def test_a_router_that_goes_takes_its_jobs_along() -> None:
    """Staged and fetched; the others' stay. If it comes back, its jobs are new."""
    door, other = Door(), FakeRouterLink(0xB0)
    door.intake.link_up(other)
    door.intake.from_lanes([claimed(a_job(1)), claimed(a_job(2, payload=b"", ticket_bytes=6))])
    door.intake.from_lanes([claimed(a_job(3, router=0xB0))])
    await asyncio.sleep(0)
    door.intake.link_down(door.link)
    await asyncio.sleep(0.001)
    assert (door.staged, door.intake.fetching) == ([3], 0)
    assert not door.intake.is_linked(ROUTER)
    again = FakeRouterLink()
    door.intake.link_up(again)
    door.intake.from_link(again, [a_job(1)])
    assert door.staged == [3, 1]


@virtual_time
async def test_the_end_of_a_former_link_does_not_harm_the_new_one() -> None:
    """A router may dial anew before its old link is noticed to be gone."""
    door, again = Door(), FakeRouterLink()
    door.intake.link_up(again)
    door.intake.from_link(again, [a_job(1)])
    door.intake.link_down(door.link)
    assert door.intake.is_linked(ROUTER)
    assert door.staged == [1]


@virtual_time
async def test_a_node_that_is_leaving_gives_jobs_back() -> None:
    """Those addressed to it; what it has already claimed it still runs."""
    door = Door()
    door.intake.leaving = True
    door.intake.from_link(door.link, [a_job(1)])
    assert (door.link.returned, door.staged, door.link.claims) == ([1], [], [])
    door.intake.from_lanes([claimed(a_job(2))])
    assert door.staged == [2]


@virtual_time
async def test_jobs_over_a_link_that_is_down_are_nobodys() -> None:
    """A frame may still be on its way when the link is gone."""
    door = Door()
    door.intake.link_down(door.link)
    door.intake.from_link(door.link, [a_job(1)])
    assert (door.staged, door.link.claims, door.link.returned) == ([], [], [])


@virtual_time
async def test_a_call_of_the_nodes_own_is_staged_like_any_other() -> None:
    """And refused like any other."""
    door, caller = Door(), Collector()
    now_s = asyncio.get_running_loop().time()
    for number, payload in enumerate((b"ok", b"bad", b"ok:123456789")):
        door.intake.from_caller(
            door.served, ROUTE, payload, key=JobKey(9, number), reply_to=caller, deadline_s=now_s + 1
        )
    assert door.staged == [0]
    assert {number: type(error) for number, error in caller.outcomes.items()} == {1: InvalidRequest, 2: InvalidRequest}


# A node that has become too slow.


@virtual_time
async def test_what_can_not_be_in_time_is_given_back() -> None:
    """The rest stays, and so does a call of the node's own API: there is nobody else to ask."""
    door, now_s = Door(), asyncio.get_running_loop().time()
    door.served.latency.current = Latency(0.1, 0.0)
    door.intake.from_link(door.link, [a_job(1, timeout_s=0.05), a_job(2, timeout_s=0.5)])
    own = {"key": JobKey(7, 3), "reply_to": Collector(), "deadline_s": now_s + 0.05}
    door.intake.from_caller(door.served, ROUTE, b"ok", **own)  # type: ignore[arg-type]
    assert door.intake.give_back(door.served) == 1
    assert (door.link.returned, door.staged) == ([1], [2, 3])


@virtual_time
async def test_what_was_given_back_may_come_again() -> None:
    """From whoever finds that nobody else can do it any better; a copy of that is still a copy."""
    door = Door()
    door.served.latency.current = Latency(0.1, 0.0)
    job = a_job(1, timeout_s=0.05)
    door.intake.from_lanes([claimed(job)])
    assert door.intake.give_back(door.served) == 1
    door.intake.from_link(door.link, [job])
    door.intake.from_link(door.link, [job])
    assert (door.staged, [jobs for jobs, _ in door.link.claims]) == ([1], [[1], [1]])


@virtual_time
async def test_jobs_that_come_to_an_idle_node_tell_how_tight_they_are() -> None:
    """Over a link as from a lane; such as come to a busy one have company, and tell nothing."""
    door = Door()
    door.busy_until_s = asyncio.get_running_loop().time() + 1
    door.intake.from_link(door.link, [a_job(1, timeout_s=0.03)])
    assert door.served.arrivals.tight_s == 0
    door.intake.cancel(ROUTER, [1])
    door.busy_until_s = 0
    door.intake.from_link(door.link, [a_job(2, timeout_s=0.03)])
    assert door.served.arrivals.tight_s == pytest.approx(0.03, abs=1e-5)
